"""What video does to a face, for real and fake alike (chapter 03_training).

One chain: size, resampling, colour, blur or sharpening, noise, compression, and the size of the
detector's pictures. A real face and its own fake go through it with the same draws, so that none of
these tells the one from the other.
"""

from dataclasses import dataclass
from fractions import Fraction

import av
import cv2
import numpy as np

from xaifake.data.encoding import H264

FACE_PX = (60, 260)
SIZE = 128
_KERNELS = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)


@dataclass(frozen=True)
class Chain:
    """One draw of everything that happens to a picture between the scene and the detector.

    Attributes
    ----------
    face_px : float
        Side of the face's box in the video, pixels; a picture with fewer is not enlarged.
    angle : float
        Turn of the picture, degrees.
    kernel : int
        OpenCV's interpolation of the change of size.
    gain : tuple of float
        Factors of the three colours.
    gamma : float
        Exponent of brightness.
    blur : float
        Standard deviation of a Gaussian blur, in pixels of the detector's picture.
    sharpened : float
        Strength of an unsharp mask.
    noise, colour_noise : float
        Standard deviations in grey levels.
    jpeg : int
        Quality, 0 for no JPEG.
    crf : int
        Constant rate factor of H.264, 0 for no video.
    moved : tuple of int
        The frame before shows the picture this far away, so that the video's frame is a predicted
        one; (0, 0) for a frame coded on its own.
    seed : int
        Of the noise.
    """

    face_px: float
    angle: float
    kernel: int
    gain: tuple
    gamma: float
    blur: float
    sharpened: float
    noise: float
    colour_noise: float
    jpeg: int
    crf: int
    moved: tuple
    seed: int


PLAIN = Chain(
    face_px=float(FACE_PX[1]),
    angle=0.0,
    kernel=cv2.INTER_AREA,
    gain=(1.0, 1.0, 1.0),
    gamma=1.0,
    blur=0.0,
    sharpened=0.0,
    noise=0.0,
    colour_noise=0.0,
    jpeg=0,
    crf=0,
    moved=(0, 0),
    seed=0,
)  # only the size changes


def draw_chain(rng):
    """Draw a chain: half of them with H.264, every third with JPEG, every fourth blurred.

    Parameters
    ----------
    rng : numpy.random.Generator

    Returns
    -------
    Chain
    """
    optics = rng.choice(["clean", "blurred", "sharpened"], p=[0.5, 0.3, 0.2])
    coding = rng.choice(["none", "jpeg", "video", "both"], p=[0.15, 0.3, 0.45, 0.1])
    noisy = rng.uniform() < 0.5
    predicted = rng.uniform() < 0.5
    return Chain(
        face_px=float(np.exp(rng.uniform(*np.log(FACE_PX)))),
        angle=float(rng.choice([0, 1], p=[0.4, 0.6]) * rng.uniform(-8, 8)),
        kernel=int(rng.choice(_KERNELS)),
        gain=tuple(np.exp(rng.normal(0, 0.04, 3))),
        gamma=rng.uniform(0.8, 1.25),
        blur=rng.uniform(0.3, 2.0) if optics == "blurred" else 0.0,
        sharpened=rng.uniform(0.2, 1.0) if optics == "sharpened" else 0.0,
        noise=rng.uniform(0.5, 6.0) if noisy else 0.0,
        colour_noise=rng.uniform(0.0, 2.0) if noisy else 0.0,
        jpeg=int(rng.integers(35, 96)) if coding in ("jpeg", "both") else 0,
        crf=int(rng.integers(18, 33)) if coding in ("video", "both") else 0,
        moved=tuple(int(x) for x in rng.integers(-3, 4, 2)) if predicted else (0, 0),
        seed=int(rng.integers(2**32)),
    )


def cut_turned(picture, centre, side, angle):
    """Cut a square out of a picture, turned about its middle; beyond the edge it goes on.

    Parameters
    ----------
    picture : numpy.ndarray
        ``(H, W)`` or ``(H, W, 3)``.
    centre : array of float, (2,)
        Middle of the square, pixels ``(x, y)``.
    side : int
        Of the square, pixels.
    angle : float
        Degrees.

    Returns
    -------
    numpy.ndarray
        ``(side, side)`` or ``(side, side, 3)``.
    """
    left, top = (round(float(x) - side / 2) for x in centre)
    if not angle:
        # The very pixels, unlike those of an interpolation.
        columns = np.arange(left, left + side).clip(0, picture.shape[1] - 1)
        rows = np.arange(top, top + side).clip(0, picture.shape[0] - 1)
        return np.ascontiguousarray(picture[np.ix_(rows, columns)])
    middle = (left + (side - 1) / 2, top + (side - 1) / 2)
    matrix = cv2.getRotationMatrix2D(middle, angle, 1.0)
    matrix[:, 2] -= (left, top)
    return cv2.warpAffine(
        picture, matrix, (side, side), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )


def degrade(picture, face_px, chain, size=SIZE):
    """Send a square picture of a face through a chain.

    Parameters
    ----------
    picture : numpy.ndarray
        ``uint8 (S, S, 3)`` RGB.
    face_px : float
        Side of the face's box in it, pixels.
    chain : Chain
        Its turn is for `cut_turned`.
    size : int
        Side of the result, pixels.

    Returns
    -------
    numpy.ndarray
        ``uint8 (size, size, 3)``.
    """
    side = round(len(picture) * min(1.0, chain.face_px / face_px))
    side -= side % 2  # H.264 halves the resolution of colour
    if side != len(picture):
        picture = cv2.resize(picture, (side, side), interpolation=chain.kernel)
    picture = _colours(picture, chain)
    picture = _optics(picture, chain, side / size)
    picture = _noise(picture, chain)
    if chain.jpeg:
        picture = through_jpeg(picture, chain.jpeg)
    if chain.crf:
        picture = through_video(picture, chain.crf, chain.moved)
    how = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR  # as faces are cut from videos
    return picture if side == size else cv2.resize(picture, (size, size), interpolation=how)


def degrade_mask(alpha, size=SIZE):
    """Bring the mask of a cut square to the size of the result.

    Parameters
    ----------
    alpha : numpy.ndarray
        ``float32 (S, S)``, share of what was pasted.
    size : int

    Returns
    -------
    numpy.ndarray
        ``bool (size, size)``, true where at least half of a pixel's area is manipulated.
    """
    changed = (alpha > 0.5 / 255).astype(np.uint8) * 255
    return cv2.resize(changed, (size, size), interpolation=cv2.INTER_AREA) >= 128


def _colours(picture, chain):
    levels = 255 * (np.arange(256) / 255)[:, None] ** chain.gamma * chain.gain
    return cv2.LUT(picture, np.rint(levels).clip(0, 255).astype(np.uint8)[None])


def _optics(picture, chain, pixel):
    if chain.blur:
        return cv2.GaussianBlur(picture, (0, 0), chain.blur * pixel)
    if chain.sharpened:
        soft = cv2.GaussianBlur(picture, (0, 0), 1.5 * pixel)
        return cv2.addWeighted(picture, 1 + chain.sharpened, soft, -chain.sharpened, 0)
    return picture


def _noise(picture, chain):
    if not chain.noise:
        return picture
    side = len(picture)
    rng = np.random.default_rng(chain.seed)
    luma = chain.noise * rng.standard_normal((side, side), np.float32)
    chroma = chain.colour_noise * rng.standard_normal((side // 2, side // 2, 3), np.float32)
    noise = cv2.resize(chroma, (side, side), interpolation=cv2.INTER_NEAREST)
    noise += luma[..., None]
    return cv2.add(picture, noise, dtype=cv2.CV_8U)


def through_jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    """Code a picture, uint8 (H, W, 3) RGB, as JPEG and return what is shown of it."""
    coded = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    shown = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR))
    return np.ascontiguousarray(shown[..., ::-1])


def through_video(picture, crf, moved=(0, 0)):
    """Code a picture as H.264 and return what a player shows.

    Parameters
    ----------
    picture : numpy.ndarray
        ``uint8 (H, W, 3)`` RGB, of even height and width.
    crf : int
        Constant rate factor of libx264.
    moved : tuple of int
        As in `Chain`: rows and columns.

    Returns
    -------
    numpy.ndarray
        ``uint8 (H, W, 3)``.
    """
    height, width = picture.shape[:2]
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height = width, height
    encoder.pix_fmt, encoder.time_base, encoder.thread_count = "yuv420p", Fraction(1, 25), 1
    encoder.options = {"crf": str(crf), "tune": "zerolatency", **H264}
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    frames = [picture]
    if moved != (0, 0):
        frames.insert(0, np.ascontiguousarray(np.roll(picture, moved, (0, 1))))
    shown = []
    for number, frame in enumerate(frames):
        frame = av.VideoFrame.from_ndarray(frame, format="rgb24")
        frame.pts = number
        for packet in encoder.encode(frame):
            shown += decoder.decode(packet)
    for packet in encoder.encode():
        shown += decoder.decode(packet)
    shown += decoder.decode(None)
    return shown[-1].to_ndarray(format="rgb24")
