"""Layer-wise Relevance Propagation, right for batch norm and separable convolutions (07_lrp).

`merge_batch_norms` folds batch norms away; the rules can be combined, layer by layer, for the
method "lrp" of `xaifake.explain`; `relevance_by_layer` follows the relevance on its way, and
`relevance_at` draws it there.
"""

from xaifake.explainers.lrp.batch_norms import merge_batch_norms as merge_batch_norms
from xaifake.explainers.lrp.methods import (
    METHODS as METHODS,
    RULES as RULES,
    explain_lrp as explain_lrp,
    relevance_at as relevance_at,
    relevance_by_layer as relevance_by_layer,
)
from xaifake.explainers.lrp.rules import (
    AlphaBeta as AlphaBeta,
    Bounded as Bounded,
    Epsilon as Epsilon,
    Flat as Flat,
    Gamma as Gamma,
    WSquare as WSquare,
    ZPlusFast as ZPlusFast,
)
