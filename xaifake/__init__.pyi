from .detector.detector import Detector as Detector
from .explainers.api import (
    explain as explain,
    methods as methods,
)

__version__: str
