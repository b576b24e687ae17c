#!/usr/bin/env bash
# captum's Lime returns an empty map for a probability
# Harms: map
# Call: Lime(probability).attribute(picture, feature_mask=segments, n_samples=400)
# Expected: one weight per segment, smaller for segments that matter less.
# Effect: the map is empty, which reads as 'no segment matters'.
# Instead: explain the logit, and pass something like interpretable_model=SkLearnRidge(alpha=1e-3). The default is a Lasso with alpha 0.01, whatever the scale of the output.
# xaifake: no, tests/explainers/test_lime.py::test_the_surrogate_solves_the_papers_equation
# Picture: Bands of red, blue and white on the left, an empty square on the right.
# Caption: The change of the probability when each of four segments is hidden (left), and Lime's map (right).
source "$(dirname "$0")/environment.bash" torch==2.13.0 numpy==2.4.6 captum==0.9.0 scikit-learn==1.8.0
python - <<'PYTHON'
from itertools import product

import torch
from captum._utils.models.linear_model import SkLearnRidge
from captum.attr import FeatureAblation, Lime
from draw import draw
from importlib.metadata import version

torch.manual_seed(0)
network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(288, 1))
picture, segments = torch.rand(1, 3, 8, 8), (torch.arange(64).reshape(1, 1, 8, 8) // 16)


def probability(x):
    return torch.sigmoid(network(x))


weights = Lime(probability).attribute(picture, feature_mask=segments, n_samples=400)[0, 0]
ridge = Lime(probability, interpretable_model=SkLearnRidge(alpha=1e-3)).attribute(picture, feature_mask=segments, n_samples=400)[0, 0]
effects = FeatureAblation(probability).attribute(picture, feature_mask=segments)[0, 0]
draw(effects, weights)
answers = {shown: probability(picture * torch.tensor(shown)[segments]).item() for shown in product((0, 1), repeat=4)}
means = [sum(answers[s] - answers[s[:i] + (0,) + s[i + 1 :]] for s in answers if s[i]) / 8 for i in range(4)]
weights, ridge, effects = (m[::2, 0] for m in (weights, ridge, effects))
print("captum", version("captum"), "torch", version("torch"))
print("change when a segment is hidden: ", [round(x, 4) for x in effects.tolist()])
print("mean of it, whatever else is hidden: ", [round(x, 4) for x in means])
print("weights of the segments by Lime: ", weights.tolist())
print("the same with SkLearnRidge(1e-3): ", [round(x, 4) for x in ridge.tolist()])
assert (weights == 0).all() and effects.abs().max() > 0.005 and (ridge - torch.tensor(means)).abs().max() < 0.002, "the weights are not all zero now"
print(f"All weights are 0, while hiding one segment moves the probability by up to {effects.abs().max():.3f}.")
PYTHON
