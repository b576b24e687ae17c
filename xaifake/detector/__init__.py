"""The second room: Xception from scratch, trained, stored and scored (chapter 03_training)."""

from xaifake.detector.evaluation import (
    Evaluation,
    TwinTest,
    evaluate,
    evaluate_logits,
    false_positives_when_blurred,
    found_fakes,
    recall_by,
    reliability_table,
    sample_found_fakes,
    twin_test,
)
from xaifake.detector.training import train
from xaifake.detector.xception import (
    build_xception,
    detector_card,
    load_detector,
    load_weights,
    predict_logits,
    preprocess,
    save_weights,
)

__all__ = [
    "Evaluation",
    "TwinTest",
    "build_xception",
    "detector_card",
    "evaluate",
    "evaluate_logits",
    "false_positives_when_blurred",
    "found_fakes",
    "load_detector",
    "load_weights",
    "predict_logits",
    "preprocess",
    "recall_by",
    "reliability_table",
    "sample_found_fakes",
    "save_weights",
    "train",
    "twin_test",
]
