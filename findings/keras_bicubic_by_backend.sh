#!/usr/bin/env bash
# Keras 3 enlarges a picture with bicubic interpolation differently on PyTorch and on JAX
# Harms: picture
# Call: keras.layers.Resizing(64, 64, interpolation="bicubic") in one model, with KERAS_BACKEND=jax and with torch
# Guess: a model answers alike on all backends, to within 1e-5 of the range.
# Effect: edges overshoot more on PyTorch. A network that looks for edges of blending sees other edges than those it was trained on.
# Instead: use "bilinear", on which the backends agree, or resize before the network and by one library.
# xaifake: no, it resizes before the network and linearly: tests/data/test_faces.py::test_enlarging_interpolates_linearly
# Picture: A grey disc with a fringe on the left, and thin red and blue rings on the right.
# Caption: A disc enlarged on JAX (left), and what PyTorch adds to it in red and takes away in blue (right).
source "$(dirname "$0")/environment.bash" keras==3.15.0 jax==0.10.0
pip install -qq --no-compile torch==2.13.0 pillow==13.0.0
cat > enlarge.py <<'PYTHON'
import keras
import numpy as np

y, x = np.mgrid[:16, :16] - 7.5
disc = 64 + 128 * (y**2 + x**2 < 30).astype("float32")[None, :, :, None]
ways = {how: keras.layers.Resizing(64, 64, interpolation=how) for how in ("nearest", "bilinear", "bicubic")}
np.savez(keras.config.backend(), **{how: keras.ops.convert_to_numpy(layer(disc))[0, :, :, 0] for how, layer in ways.items()})
PYTHON
for backend in jax torch; do KERAS_BACKEND=$backend python enlarge.py 2>errors.txt; done
python - <<'PYTHON'
from importlib.metadata import version

import numpy as np
from draw import draw

one, other = (dict(np.load(f"{backend}.npz")) for backend in ("jax", "torch"))
away = {how: float(np.abs(one[how] - other[how]).max()) for how in one}
draw(np.dstack([one["bicubic"]] * 3), other["bicubic"] - one["bicubic"], side=128)
print("keras", version("keras"), "jax", version("jax"), "torch", version("torch"))
print("grey levels from 64 to 192, largest difference of the two backends:", {how: round(a, 1) for how, a in away.items()})
print(f"bicubic goes from {one['bicubic'].min():.0f} to {one['bicubic'].max():.0f} on JAX and from {other['bicubic'].min():.0f} to {other['bicubic'].max():.0f} on PyTorch")
assert max(away["nearest"], away["bilinear"]) < 0.01 and away["bicubic"] > 5, "the backends agree now"
print(f"With bicubic interpolation a pixel differs by up to {away['bicubic']:.0f} levels.")
PYTHON
