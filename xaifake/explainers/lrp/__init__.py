"""Layer-wise Relevance Propagation, right for batch norm and separable convolutions (07_lrp).

`merge_batch_norms` folds batch norms away; the rules can be combined, layer by layer, for the
method "lrp" of `xaifake.explain`; `relevance_by_layer` follows the relevance on its way, and
`relevance_at` draws it there.
"""

from xaifake.explainers.lrp.batch_norms import merge_batch_norms
from xaifake.explainers.lrp.methods import (
    METHODS,
    RULES,
    explain_lrp,
    relevance_at,
    relevance_by_layer,
)
from xaifake.explainers.lrp.rules import (
    AlphaBeta,
    Bounded,
    Epsilon,
    Flat,
    Gamma,
    WSquare,
    ZPlusFast,
)

__all__ = [
    "METHODS",
    "RULES",
    "AlphaBeta",
    "Bounded",
    "Epsilon",
    "Flat",
    "Gamma",
    "WSquare",
    "ZPlusFast",
    "merge_batch_norms",
    "explain_lrp",
    "relevance_at",
    "relevance_by_layer",
]
