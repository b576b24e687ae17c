#!/usr/bin/env bash
# Guess, written before the first run: is_animated is true of pictures that move and false of a photograph, also of one
# that a phone stores with a second picture beside it (MPO, the multi-picture format of CIPA).
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet pillow==13.0.0
cd "$folder"
env/bin/python - <<'PYTHON'
import PIL
from PIL import Image

photo, depth = Image.new("RGB", (64, 48), "red"), Image.new("RGB", (64, 48), "grey")
photo.save("photo.jpg", format="MPO", save_all=True, append_images=[depth])
with Image.open("photo.jpg") as image:
    print("Pillow", PIL.__version__, "opens photo.jpg as", image.format)
    print("is_animated:", image.is_animated, " n_frames:", image.n_frames)
    assert image.format == "MPO" and image.is_animated, "a photograph of several parts is none that moves now"
print("A loop over the frames of everything that is_animated judges a depth map or a second lens as a face.")
PYTHON
