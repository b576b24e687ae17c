#!/usr/bin/env bash
# captum's sensitivity_max gives the best possible score to an explanation that is always empty
# Harms: score
# Call: sensitivity_max(explanation, picture)
# Guess: the score is divided by the norm of the map, so a map of zeros gives NaN.
# Effect: a method that fails silently wins a comparison of stability.
# Instead: leave out maps with norm 0 before scoring, and report how many there were.
# xaifake: no, tests/judge/test_stability.py::test_a_constant_map_leaves_the_others_their_scores
source "$(dirname "$0")/environment.bash" torch==2.13.0 numpy==2.4.6 captum==0.9.0 scikit-learn==1.8.0
python - <<'PYTHON'
import torch
from captum.attr import Saliency
from captum.metrics import sensitivity_max
from importlib.metadata import version

torch.manual_seed(0)
network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(288, 1))
picture = torch.rand(1, 3, 8, 8)


def dead(inputs):
    return tuple(torch.zeros_like(x) for x in inputs)


scores = {n: sensitivity_max(f, picture).item() for n, f in (("dead", dead), ("gradient", Saliency(network).attribute))}
print("captum", version("captum"), "torch", version("torch"))
print("largest change under small noise, less is better:", {n: round(s, 3) for n, s in scores.items()})
assert scores["dead"] == 0 and scores["gradient"] > 0.1, "an empty map is scored otherwise now"
print(f"An empty map scores 0, the best there is; the gradient scores {scores['gradient']:.2f}.")
PYTHON
