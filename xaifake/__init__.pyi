from .detector.detector import Detector as Detector
from .detector.forward import clear_cache as clear_cache
from .explainers.api import (
    explain as explain,
    methods as methods,
)

__version__: str
