"""Frames of a talking head from two photographs: motion, light, lens, noise, H.264.

Real clips and fakes go through this same code with the same draws (chapter 01_dataset): a fake
and its original differ only in the two photographs that they start from.
"""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from xaifake.data import portraits
from xaifake.data.swaps import displacement_field

FRAME_SIZE = 360
FRAME_RATE = 25
_PORTRAIT_SIZE = 540

# Amplitudes of a scene's motion: degrees, shares of the frame, and strengths of a turn and a nod.
SCENES = {
    "look_around": {"turn": 1.0, "nod": 0.3, "roll": 3, "shift": 0.03, "zoom": 0.04, "smile": 0.4},
    "nod_and_smile": {"turn": 0.3, "nod": 1.0, "roll": 2, "shift": 0.03, "zoom": 0.03, "smile": 1},
    "lean_in": {"turn": 0.3, "nod": 0.4, "roll": 3, "shift": 0.03, "zoom": 0.14, "smile": 0.6},
    "sway": {"turn": 0.5, "nod": 0.3, "roll": 8, "shift": 0.06, "zoom": 0.04, "smile": 0.7},
    "lean_and_turn": {"turn": 0.8, "nod": 0.4, "roll": 4, "shift": 0.04, "zoom": 0.1, "smile": 0.7},
}


@dataclass(frozen=True)
class _Camera:
    """What the picture goes through after the scene: the same for a fake and its original.

    A reduction to a share of the side (1 is none), a Gaussian blur (its standard deviation in
    pixels), an unsharp mask (its strength), noise of brightness per pixel and of colour (standard
    deviations in grey levels), and libx264's constant rate factor.
    """

    resolution: float
    blur: float
    sharpen: float
    noise: float
    colour_noise: float
    crf: int


def _draw_camera(rng):
    """Draw a camera. Every fourth picture is clearly soft as a whole, real or fake."""
    resolution, blur, sharpen = 1.0, 0.0, 0.0
    kinds = ["clean", "reduced", "soft", "blurred", "sharpened"]
    kind = rng.choice(kinds, p=[0.3, 0.3, 0.1, 0.15, 0.15])
    if kind == "reduced":
        resolution = rng.uniform(0.6, 0.95)
    elif kind == "soft":
        resolution = rng.uniform(0.35, 0.6)
    elif kind == "blurred":
        blur = rng.uniform(0.5, 1.6)
    elif kind == "sharpened":
        sharpen = rng.uniform(0.2, 0.8)
    noise, colour_noise = rng.uniform(0.3, 3.0), rng.uniform(0.0, 1.5)
    return _Camera(resolution, blur, sharpen, noise, colour_noise, int(rng.integers(20, 26)))


def _drift(rng, n_frames, amplitude):
    """Smooth random path: two slow sine waves with random phases, within +-amplitude."""
    t = np.arange(n_frames) / FRAME_RATE
    waves = [np.sin(2 * np.pi * (rng.uniform(0.2, 0.9) * t + rng.uniform())) for _ in range(2)]
    return amplitude * (0.65 * waves[0] + 0.35 * waves[1])


class Scene:
    """Everything that a fake shares with its original: motion, light, camera and noise.

    Parameters
    ----------
    person : str
        Whose head moves (the target of a swap).
    name : str
        One of `SCENES`.
    n_frames : int
    seed : int
        The same person, name and seed give the same scene.
    """

    def __init__(self, person, name, n_frames=32, seed=0):
        self.portrait = portraits.load_portrait(person)
        self.n_frames = n_frames
        self._key = [seed, 1, int(person), list(SCENES).index(name)]
        rng = np.random.default_rng(self._key)
        self.camera = _draw_camera(rng)
        self._draw_motion(rng, SCENES[name])
        self._draw_light(rng)
        self._centre = np.mean(self.portrait.landmarks, 0)[[27, 8, 30]].mean(0)
        self._prepared = (None, None)

    def _draw_motion(self, rng, amplitude):
        n = self.n_frames
        self.turn = _drift(rng, n, 11 * amplitude["turn"])
        self.nod = _drift(rng, n, 9 * amplitude["nod"])
        self.roll = rng.uniform(-4, 4) + _drift(rng, n, amplitude["roll"])
        self.zoom = rng.uniform(0.95, 1.2) * np.exp(_drift(rng, n, amplitude["zoom"]))
        start = rng.uniform(-0.04, 0.04, 2)[:, None]
        drift = np.stack([_drift(rng, n, amplitude["shift"]) for _ in range(2)])
        self.shift = FRAME_SIZE * (start + drift)
        self.tilt = np.stack([_drift(rng, n, 2.5e-4) for _ in range(2)])
        middle = rng.uniform(0.2, 0.8)
        self.smile = np.clip(middle + _drift(rng, n, amplitude["smile"]), 0, 1)

    def _draw_light(self, rng):
        n = self.n_frames
        self.gain = rng.uniform(0.82, 1.08) * np.exp(_drift(rng, n, 0.06))
        self.slope = rng.uniform(-0.15, 0.15, 2)[:, None] + [_drift(rng, n, 0.08) for _ in range(2)]
        balance = np.exp(rng.normal(0, 0.03, 3))
        gamma = rng.uniform(0.85, 1.2)
        levels = 255 * (np.arange(256) / 255)[:, None] ** gamma * balance
        self.tone_curve = np.clip(np.rint(levels), 0, 255).astype(np.uint8)[:, None]

    @cached_property
    def _fields(self):
        """Displacements in the portrait's pixels: expression, and depth for turn and nod."""
        neutral, smiling = self.portrait.landmarks
        edge = np.linspace(0, _PORTRAIT_SIZE - 1, 7)
        border = [(x, y) for x in edge for y in edge if {x, y} & {edge[0], edge[-1]}]
        outer = np.arange(60)  # the inner lips coincide in a closed mouth
        middle = np.vstack([(neutral + smiling)[outer] / 2, border])
        towards = middle + np.vstack([(smiling - neutral)[outer], np.zeros((len(border), 2))])
        expression = displacement_field(middle, towards, _PORTRAIT_SIZE)
        centre = middle[30]
        width = np.ptp(neutral[:, 0])
        y, x = np.mgrid[:_PORTRAIT_SIZE, :_PORTRAIT_SIZE]
        distance = ((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (0.55 * width) ** 2
        depth = np.exp(-distance / 2).astype(np.float32)
        return np.dstack([expression, depth])

    def _portrait_coordinates(self, i):
        """Where in the portrait each pixel of frame i lies, before turn, nod and expression."""
        # The face stands a little below the middle, so that the chest fills the lower edge.
        middle = np.array([0.5, 0.57]) * FRAME_SIZE + self.shift[:, i]
        scale = FRAME_SIZE / _PORTRAIT_SIZE * self.zoom[i]
        angle = np.deg2rad(self.roll[i])
        c, s = scale * np.cos(angle), scale * np.sin(angle)
        to_frame = np.array([[c, -s, middle[0]], [s, c, middle[1]], [0, 0, 1]])
        to_centre = np.array([[1, 0, -self._centre[0]], [0, 1, -self._centre[1]], [0, 0, 1]])
        tilt = np.eye(3)
        tilt[2, :2] = self.tilt[:, i]
        back = np.linalg.inv(to_frame @ tilt @ to_centre).astype(np.float32)
        y, x = np.mgrid[:FRAME_SIZE, :FRAME_SIZE].astype(np.float32)
        w = back[2, 0] * x + back[2, 1] * y + back[2, 2]
        return tuple((row[0] * x + row[1] * y + row[2]) / w for row in back[:2])

    def maps(self, i):
        """Return sampling maps of frame i into the photographs, and the weight of the smiling one.

        x and y, float32 (360, 360), in the neutral and in the smiling photograph. The weight
        changes steeply with the geometry, so that few frames are a mixture of the two.
        """
        x, y = self._portrait_coordinates(i)
        fields = cv2.remap(self._fields, x, y, cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE)
        x = x + float(self.turn[i]) * fields[..., 2]
        y = y + float(self.nod[i]) * fields[..., 2]
        smile = float(self.smile[i])
        maps = [(x + k * fields[..., 0], y + k * fields[..., 1]) for k in (-smile, 1 - smile)]
        ramp = np.clip((smile - 0.35) / 0.3, 0, 1)
        return maps, float(ramp * ramp * (3 - 2 * ramp))

    def frame(self, i, images, alphas=None):
        """Render frame i from two photographs.

        Parameters
        ----------
        i : int
        images : tuple of ndarray, uint8 (540, 540, 3)
            Neutral and smiling, original or swapped.
        alphas : tuple of ndarray, float32 (540, 540), optional
            Of the swap.

        Returns
        -------
        frame : ndarray, uint8 (360, 360, 3)
        mask : ndarray, bool (360, 360), or None without alphas
            True where the swap's blend is above zero, the camera's blur included.
        """
        maps, weight, noise = self._prepare(i)
        picture = self._lens(self._light(i, _morph(images, maps, weight))) + noise
        frame = np.rint(picture).clip(0, 255).astype(np.uint8)
        if alphas is None:
            return frame, None
        alpha = self._lens(_morph(alphas, maps, weight), sharpen=False)
        return frame, alpha > 0.5 / 255

    def _light(self, i, picture):
        ramp = np.linspace(-1, 1, FRAME_SIZE, dtype=np.float32)
        shade = 1 + self.slope[0, i] * ramp[None, :] + self.slope[1, i] * ramp[:, None]
        lit = cv2.LUT(np.rint(picture).clip(0, 255).astype(np.uint8), self.tone_curve)
        return lit * (self.gain[i] * shade[..., None]).astype(np.float32)

    def _lens(self, picture, sharpen=True):
        camera = self.camera
        if camera.resolution < 1:
            f = camera.resolution
            small = cv2.resize(picture, None, fx=f, fy=f, interpolation=cv2.INTER_AREA)
            picture = cv2.resize(small, (FRAME_SIZE, FRAME_SIZE), interpolation=cv2.INTER_LINEAR)
        if camera.blur:
            picture = cv2.GaussianBlur(picture, (0, 0), camera.blur)
        if camera.sharpen and sharpen:
            soft = cv2.GaussianBlur(picture, (0, 0), 1.5)
            picture = picture + camera.sharpen * (picture - soft)
        return picture

    def _noise(self, i):
        rng = np.random.default_rng([*self._key, i])
        size, half = (FRAME_SIZE, FRAME_SIZE), (FRAME_SIZE // 2, FRAME_SIZE // 2, 3)
        luma = self.camera.noise * rng.standard_normal(size, np.float32)
        chroma = self.camera.colour_noise * rng.standard_normal(half, np.float32)
        return luma[..., None] + cv2.resize(chroma, size, interpolation=cv2.INTER_NEAREST)

    def _prepare(self, i):
        """Maps, weight and noise of frame i, kept for the other clips of the same scene."""
        if self._prepared[0] != i:
            self._prepared = (i, (*self.maps(i), self._noise(i)))
        return self._prepared[1]


def _morph(images, maps, weight):
    """Sample both photographs and mix them; skip the one that does not show."""
    warped = [
        cv2.remap(image, x, y, cv2.INTER_LINEAR, None, cv2.BORDER_REFLECT_101) if share else None
        for image, (x, y), share in zip(images, maps, (1 - weight, weight), strict=True)
    ]
    if weight == 0:
        return warped[0].astype(np.float32)
    if weight == 1:
        return warped[1].astype(np.float32)
    return cv2.addWeighted(warped[0], 1 - weight, warped[1], weight, 0, dtype=cv2.CV_32F)
