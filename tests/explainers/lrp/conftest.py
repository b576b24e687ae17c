"""The helpers of the folder above are there for the tests of this one, too."""

import sys
from pathlib import Path

import pytest
import tensorflow as tf

sys.path.insert(0, str(Path(__file__).parents[1]))


@pytest.fixture(scope="module")
def uncompiled():
    """Each network is asked once or twice, and to compile it takes longer than to run it."""
    from xaifake.explainers.lrp.network import Network

    tf.config.run_functions_eagerly(True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Network, "_compile", lambda self, function: function)
        yield
    tf.config.run_functions_eagerly(False)
