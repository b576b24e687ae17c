#!/usr/bin/env bash
# Keras loads the same picture with different pixels for training and for prediction, and skips WebP
# Harms: picture
# Call: image_dataset_from_directory(folder, image_size=(128, 128)) and load_img(path, target_size=(128, 128))
# Guess: the same pixels to within 2 levels, and all pictures of the folder.
# Effect: a network is trained on smooth pictures and applied to jagged ones, and the map shows the jagged edges. A data set that is half WebP is halved without a warning.
# Instead: use one function for both, from bytes to array, and count the files yourself.
# xaifake: no, one reader serves both: tests/data/test_dataset.py::test_encoded_faces_are_the_same
# Picture: Two faces made of large pixels; the edges of the right one are jagged.
# Caption: One picture as the data set loads it (left), and as load_img does (right).
source "$(dirname "$0")/environment.bash" tensorflow==2.20.0 keras==3.15.0 tf_keras==2.20.1 numpy==2.4.6 matplotlib==3.11.2 pillow==13.0.0 opencv-python-headless==5.0.0.93
pip install -qq scikit-image==0.26.0
python - 2>errors.txt <<'PYTHON'
import os

import keras
import numpy as np
from PIL import Image
from skimage.data import astronaut

for name in ("fake", "real"):
    os.makedirs(f"faces/{name}")
    Image.fromarray(astronaut()).save(f"faces/{name}/a.png")
    Image.fromarray(astronaut()).save(f"faces/{name}/b.webp", lossless=True)
faces = keras.utils.image_dataset_from_directory("faces", image_size=(128, 128), batch_size=1, shuffle=False)
trained = next(iter(faces))[0].numpy()[0]
away = {
    how: np.abs(trained - keras.utils.img_to_array(keras.utils.load_img("faces/fake/a.png", target_size=(128, 128), interpolation=how)))
    for how in ("nearest", "bilinear", "bicubic")
}
asked = keras.utils.img_to_array(keras.utils.load_img("faces/fake/a.png", target_size=(128, 128)))
pair = np.hstack([trained, asked])[:72, :].clip(0, 255).astype(np.uint8)
Image.fromarray(np.kron(pair[:, [*range(32, 96), *range(160, 224)]], np.ones((3, 3, 1), np.uint8))).save("picture.png")
print("keras", keras.__version__)
print("mean and largest difference of the two, by interpolation of load_img:", {h: (round(float(a.mean()), 1), round(float(a.max()))) for h, a in away.items()})
print("files in the folder: 4, found:", len(faces.file_paths))
assert away["nearest"].mean() > 2 and away["bilinear"].mean() > 2 and len(faces.file_paths) == 2, "they agree now"
print(f"One picture differs by {away['nearest'].mean():.1f} levels in the mean and {away['nearest'].max():.0f} at most; of 4 files 2 are found.")
PYTHON
