"""One Xception for all tests of this folder."""

import numpy as np
import pytest
from planted import pictures

from xaifake.detector import build_xception, preprocess
from xaifake.detector.xception import batch_norms


@pytest.fixture(scope="session")
def xception():
    return build_xception()


@pytest.fixture(scope="session")
def seen(xception):
    """Xception with batch norm statistics as varied as after training."""
    rng = np.random.default_rng(1)
    xception(preprocess(pictures(4)), training=True)
    for layer in batch_norms(xception):
        layer.gamma.assign(rng.uniform(0.5, 1.5, layer.gamma.shape))
        layer.beta.assign(rng.normal(0, 0.1, layer.beta.shape))
    return xception
