"""The second room: Xception from scratch, trained, stored and scored (chapter 03_training)."""

from xaifake.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
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
        "training": ["train"],
        "xception": [
            "build_xception",
            "detector_card",
            "load_detector",
            "load_weights",
            "predict_logits",
            "preprocess",
            "save_weights",
        ],
    },
)
