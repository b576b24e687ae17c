from .detector import Detector as Detector
from .evaluation import (
    Evaluation as Evaluation,
    PairedTest as PairedTest,
    case_file as case_file,
    evaluate as evaluate,
    evaluate_logits as evaluate_logits,
    false_positives_when_blurred as false_positives_when_blurred,
    paired_test as paired_test,
    recall_by as recall_by,
    reliability_table as reliability_table,
    sample_true_positives as sample_true_positives,
    top_true_positives as top_true_positives,
)
from .forward import clear_cache as clear_cache
from .inputs import preprocess as preprocess
from .training import train as train
from .xception import (
    build_xception as build_xception,
    detector_card as detector_card,
    load_weights as load_weights,
    save_weights as save_weights,
)
