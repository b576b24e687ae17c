#!/usr/bin/env bash
# TensorFlow decodes a JPEG to different pixels from Pillow and OpenCV
# Harms: picture
# Call: tf.io.decode_jpeg(data) and Image.open(file) on one JPEG
# Guess: the same pixels, since all use libjpeg.
# Effect: a detector of compression traces is trained on one kind of traces and applied to another. Scores stored with one reader cannot be reproduced with the other.
# Instead: use tf.io.decode_jpeg(data, dct_method="INTEGER_ACCURATE"), or one reader for both.
# xaifake: no, it reads with OpenCV everywhere: tests/data/test_faces.py::test_jpeg_keeps_the_picture_and_its_colours
# Picture: A photographed face, and a square of the same size that is full of red dots.
# Caption: A part of the picture (left), and in red where TensorFlow's default differs from Pillow (right). The largest difference is in full colour.
source "$(dirname "$0")/environment.bash" tensorflow==2.20.0 keras==3.15.0 tf_keras==2.20.1 numpy==2.4.6 matplotlib==3.11.2 pillow==13.0.0 opencv-python-headless==5.0.0.93
pip install -qq scikit-image==0.26.0
python - 2>errors.txt <<'PYTHON'
import cv2
import numpy as np
import PIL
import tensorflow as tf
from draw import draw
from PIL import Image
from skimage.data import astronaut

Image.fromarray(astronaut()).save("face.jpg", quality=90)
data = tf.io.read_file("face.jpg")
pillow = np.asarray(Image.open("face.jpg")).astype(int)
others = {
    "OpenCV": cv2.imread("face.jpg")[..., ::-1],
    "TensorFlow": tf.io.decode_jpeg(data).numpy(),
    "TensorFlow, accurate": tf.io.decode_jpeg(data, dct_method="INTEGER_ACCURATE").numpy(),
}
part = slice(64, 160), slice(176, 272)
draw(pillow[part], np.abs(others["TensorFlow"] - pillow)[part].max(-1), side=96)
print("tensorflow", tf.__version__, "opencv", cv2.__version__, "Pillow", PIL.__version__)
found = {}
for name, pixels in others.items():
    away = np.abs(pixels - pillow)
    found[name] = away.max(), (away > 0).mean()
    print(f"{name} against Pillow: up to {found[name][0]} levels, {found[name][1]:.0%} of the values")
assert found["TensorFlow"][0] > 2 and found["TensorFlow"][1] > 0.4 and found["OpenCV"][0] == found["TensorFlow, accurate"][0] == 0, "they agree now"
print(f"{found['TensorFlow'][1]:.0%} of the values differ, by up to {found['TensorFlow'][0]} levels.")
PYTHON
