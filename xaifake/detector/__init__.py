"""The second room: what a detector is; trained, stored, scored (03_training, 04_evaluation)."""

from xaifake.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    renamed={
        "TwinTest": "PairedTest",
        "found_fakes": "top_true_positives",
        "load_detector": "Detector.pretrained",
        "predict_logits": "Detector.logits",
        "sample_found_fakes": "sample_true_positives",
        "twin_test": "paired_test",
    },
)
