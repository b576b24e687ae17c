#!/usr/bin/env bash
# Pillow's convert clips 16-bit grey at 255
# Harms: picture
# Call: Image.open("mask16.png").convert("RGB")
# Guess: convert("RGB") scales a 16-bit grey picture from 0..65535 to 0..255.
# Effect: a 16-bit mask or depth map becomes white nearly everywhere.
# Instead: divide by 257 first.
# xaifake: no, tests/data/test_media.py::test_grey_of_16_bits_is_scaled_to_8
# Picture: A ramp from black to white, and a square that is white except for its first cell.
# Caption: An even 16-bit ramp after division by 257 (left), and after convert('RGB') (right).
source "$(dirname "$0")/environment.bash" pillow==13.0.0 numpy==2.4.6
python - <<'PYTHON'
import numpy as np
import PIL
from draw import draw
from PIL import Image

ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
Image.fromarray(ramp).save("ramp.png")
with Image.open("ramp.png") as image:
    values = np.asarray(image.convert("RGB"))[..., 0]
    print("Pillow", PIL.__version__, "opens ramp.png in mode", image.mode)
draw(*(np.dstack([grey] * 3) for grey in (ramp // 257, values)))
share = (values == 255).mean()
print(f"share of the even ramp that is white after convert('RGB'): {share:.1%}")
assert share > 0.99 and np.array_equal(values, ramp.clip(0, 255)), "the range is brought to 8 bits now"
print("Values are cut off at 255 and not scaled: a mask or depth map of 16 bits becomes white.")
PYTHON
