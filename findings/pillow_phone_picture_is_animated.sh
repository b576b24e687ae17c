#!/usr/bin/env bash
# Pillow calls a phone's photograph animated
# Harms: data
# Call: image.is_animated of an MPO file, as phones write with a depth map or a second lens
# Guess: is_animated is true for pictures that move and false for a photograph, including one that a phone stores together with a second picture (MPO, the multi-picture format of CIPA).
# Effect: a loop over the frames judges a depth map as a face.
# Instead: check whether image.format == "MPO", and take the first frame.
# xaifake: no, tests/data/test_media.py::test_a_phones_picture_of_several_parts_is_its_main_one
source "$(dirname "$0")/environment.bash" pillow==13.0.0
python - <<'PYTHON'
import PIL
from PIL import Image

photo, depth = Image.new("RGB", (64, 48), "red"), Image.new("RGB", (64, 48), "grey")
photo.save("photo.jpg", format="MPO", save_all=True, append_images=[depth])
with Image.open("photo.jpg") as image:
    print("Pillow", PIL.__version__, "opens photo.jpg as", image.format)
    print("is_animated:", image.is_animated, " n_frames:", image.n_frames)
    assert image.format == "MPO" and image.is_animated and image.n_frames == 2, "a photograph of several parts is none that moves now"
print("A loop over the frames of everything that is_animated judges a depth map or a second lens as a face.")
PYTHON
