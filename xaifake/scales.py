"""How much around a face is cut: the side of the square over the larger side of dlib's box.

`SCALES` are those of Malolan et al. 2020, which a detector is shipped for. `SCALE` is meant by
every function and command that is given none: the paper explains its detector at 2.0x, and so do
the chapters from 05_activations on.
"""

SCALES = (1.3, 2.0)
SCALE = 2.0
