"""The second room: what a detector is; Xception, trained, stored, scored (03_training)."""

from xaifake.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "detector": ["Detector"],
        "evaluation": [
            "Evaluation",
            "TwinTest",
            "evaluate",
            "evaluate_logits",
            "false_positives_when_blurred",
            "found_fakes",
            "recall_by",
            "reliability_table",
            "sample_found_fakes",
            "twin_test",
        ],
        "forward": ["clear_cache"],
        "training": ["train"],
        "xception": [
            "build_xception",
            "detector_card",
            "load_weights",
            "preprocess",
            "save_weights",
        ],
    },
    renamed={"load_detector": "Detector.pretrained", "predict_logits": "Detector.logits"},
)
