"""From a frame to an aligned square: detect, find landmarks, cut (chapter 02_face_extraction).

Malolan, Parekh and Kazi (2020), section III A: dlib's detector and 68 landmarks, a square centred
on the 'central landmark' (taken as the nose tip, number 30 counted from 0) whose side is a factor
of the larger side of the face's box, resized to 128 x 128.

Images are RGB everywhere; OpenCV's BGR does not leave this module.
"""

import importlib.util
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from joblib import cpu_count

from xaifake.data.pyramid import boxes_near, one_copy_detector
from xaifake.errors import UserError

NOSE_TIP = 30  # of the 68 landmarks, counted from 0
FULL_SEARCH_EVERY = 16  # frames
_FOLLOWED_PIXELS = 640 * 480  # smaller frames are searched whole
_ENLARGED_PIXELS = 3840 * 2160
_JPEG = [
    cv2.IMWRITE_JPEG_QUALITY,
    95,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,  # colour seams are evidence, keep them
]


@dataclass(frozen=True)
class Face:
    """A face in a frame, in the frame's pixels (x to the right, y down).

    Attributes
    ----------
    box : tuple of int
        ``(left, top, right, bottom)``; right and bottom are the first pixels outside.
    landmarks : numpy.ndarray
        ``float32 (68, 2)``, the points of 300-W as ``(x, y)``.
    """

    box: tuple
    landmarks: np.ndarray

    @property
    def side(self):
        """The larger side of the box, in pixels."""
        left, top, right, bottom = self.box
        return max(right - left, bottom - top)


class FaceFinder:
    """dlib's frontal face detector (HOG, no upsampling) and its 68-point landmark predictor.

    The models' files come with the package ``face_recognition_models``; the predictor was
    trained on 300-W, whose licence excludes commercial use.
    """

    def __init__(self):
        try:
            import dlib
        except ImportError:
            raise UserError(
                "Finding faces needs dlib: pip install dlib-bin face_recognition_models"
            ) from None
        self._dlib = dlib
        self._detectors = threading.local()  # a detector is for one thread at a time
        self._predict = dlib.shape_predictor(str(_model_file("shape_predictor_68_face_landmarks")))
        self._recognise = None  # loaded when first asked for
        self._detect_near = one_copy_detector(dlib.get_frontal_face_detector())

    def find(self, frame, enlarged=0):
        """Return every face in a frame.

        Parameters
        ----------
        frame : numpy.ndarray
            ``uint8 (H, W, 3)`` RGB.
        enlarged : int
            How often the frame is doubled for the search, which finds faces of half the size, from
            some 70 pixels to 35, in four times the time and memory; frames beyond 4K are not.

        Returns
        -------
        list of Face
        """
        frame = np.ascontiguousarray(frame)
        if not hasattr(self._detectors, "of_thread"):
            self._detectors.of_thread = self._dlib.get_frontal_face_detector()
        enlarged = enlarged if frame[..., 0].size <= _ENLARGED_PIXELS else 0
        return [self._face(frame, box) for box in self._detectors.of_thread(frame, enlarged)]

    def search(self, frames, find=None):
        """Yield frames with their faces, in order; all cores search, as dlib itself uses one.

        At most one frame more than there are cores is held at a time. ``find`` may be given, to be
        called with each frame in any thread instead of `find`.
        """
        find, workers, waiting = find or self.find, cpu_count(), deque()
        with ThreadPoolExecutor(workers) as pool:
            try:
                for frame in frames:
                    waiting.append((frame, pool.submit(find, frame)))
                    if len(waiting) > workers:
                        frame, found = waiting.popleft()
                        yield frame, found.result()
                for frame, found in waiting:
                    yield frame, found.result()
            finally:
                pool.shutdown(cancel_futures=True)

    def describe(self, frame, face):
        """Return dlib's description of whose face it is (King 2017).

        Parameters
        ----------
        frame : numpy.ndarray
            ``uint8 (H, W, 3)`` RGB.
        face : Face
            Found in it.

        Returns
        -------
        numpy.ndarray
            ``float64 (128,)``. Two pictures of a person are mostly less than 0.6 apart, the limit
            that dlib's author names.
        """
        if self._recognise is None:
            model = str(_model_file("dlib_face_recognition_resnet_model_v1"))
            self._recognise = self._dlib.face_recognition_model_v1(model)
        left, top, right, bottom = face.box
        box = self._dlib.rectangle(left, top, right - 1, bottom - 1)
        points = [self._dlib.point(int(x), int(y)) for x, y in face.landmarks]
        shape = self._dlib.full_object_detection(box, points)
        frame = np.ascontiguousarray(frame)
        return np.array(self._recognise.compute_face_descriptor(frame, shape))

    def follow(self, frames, every=FULL_SEARCH_EVERY):
        """Yield the faces in each frame of a video, with few searches of whole frames.

        The first frame and each ``every``-th are searched whole. Where two of these in a row show
        as many faces, each is looked for in the frames between near its last place (see
        `xaifake.data.pyramid`), and a frame where that does not find every one is searched whole.
        If the two show none or other numbers of faces, or a face is found away from where it was
        before, all frames between are searched whole. So another face can be missed only if it
        comes and goes between two of these frames.

        At most ``every`` frames are held at a time; the faces are those of `find`, save for the
        order of several.
        """
        frames, known = iter(frames), None
        while group := list(islice(frames, every if known is not None else 1)):
            *between, last = group
            found = self.find(last)
            followed = self._followed(between, known, found)
            yield from followed or (self.find(frame) for frame in between)
            yield found
            known = found

    def _followed(self, frames, first, last):
        """Return the faces of frames between two whose faces are known; None if unsure."""
        if not frames or not first or len(first) != len(last):
            return None
        if not self._detect_near or np.prod(frames[0].shape[:2]) < _FOLLOWED_PIXELS:
            return None
        faces, found = first, []
        for frame in frames:
            near = [self._find_near(frame, face) for face in faces]
            now = [face for ones in near for face in ones]
            if any(len(ones) != 1 for ones in near):
                now = self.find(frame)
            if now and not _same_people(faces, now):
                return None
            faces = now or faces
            found.append(now)
        return found if _same_people(faces, last) else None

    def _find_near(self, frame, face):
        frame = np.ascontiguousarray(frame)
        boxes = boxes_near(self._detect_near, frame, face.box)
        return [self._face(frame, self._dlib.rectangle(*map(int, box))) for box in boxes]

    def _face(self, frame, box):
        points = self._predict(frame, box).parts()
        landmarks = np.array([(p.x, p.y) for p in points], dtype=np.float32)
        return Face((box.left(), box.top(), box.right() + 1, box.bottom() + 1), landmarks)


def _same_people(some, others):
    """Whether each box of faces shares pixels with one box of the others, and with one alone."""
    if len(some) != len(others):
        return False
    one, other = (np.array([face.box for face in faces]) for faces in (some, others))
    starts = np.maximum(one[:, None, :2], other[None, :, :2])
    ends = np.minimum(one[:, None, 2:], other[None, :, 2:])
    touch = np.all(starts < ends, axis=-1)
    return bool(np.all(touch.sum(axis=0) == 1) and np.all(touch.sum(axis=1) == 1))


def _model_file(name):
    # Looked up without importing it: the package's own code needs the retired pkg_resources.
    spec = importlib.util.find_spec("face_recognition_models")
    folders = list(spec.submodule_search_locations) if spec else []
    for folder in folders:
        path = Path(folder, "models", f"{name}.dat")
        if path.is_file():
            return path
    raise UserError(
        f"dlib's model {name} is missing: pip install --no-deps face_recognition_models"
    )


def face_square(face, scale):
    """Return the square around a face: centred on the nose tip, side ``scale`` times its box.

    Parameters
    ----------
    face : Face
    scale : float
        Factor on the larger side of the face's box; the paper uses 1.3 and 2.0.

    Returns
    -------
    tuple of int
        ``(left, top, side)`` in the frame's pixels; it may reach beyond the frame.
    """
    side = round(scale * face.side)
    x, y = face.landmarks[NOSE_TIP]
    return round(float(x) - side / 2), round(float(y) - side / 2), side


def cut_square(image, square, size=128):
    """Cut a square out of an image and resize it; what lies outside repeats the image's edge.

    Parameters
    ----------
    image : numpy.ndarray
        ``uint8 (H, W, 3)`` or ``(H, W)``.
    square : tuple of int
        ``(left, top, side)`` in pixels of the image.
    size : int
        Side of the result in pixels.

    Returns
    -------
    crop : numpy.ndarray
        ``uint8 (size, size, 3)`` or ``(size, size)``.
    padded : bool
        Whether the square reaches beyond the image.
    """
    left, top, side = square
    height, width = image.shape[:2]
    rows = np.clip(np.arange(top, top + side), 0, height - 1)
    columns = np.clip(np.arange(left, left + side), 0, width - 1)
    padded = left < 0 or top < 0 or left + side > width or top + side > height
    how = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    crop = np.ascontiguousarray(image[np.ix_(rows, columns)])
    return cv2.resize(crop, (size, size), interpolation=how), padded


def cut_mask(mask, square, size=128):
    """Cut a mask (bool, a frame's) as `cut_square` does: true where half of the area is or more."""
    crop, _ = cut_square(mask.astype(np.uint8) * 255, square, size)
    return crop >= 128


def encode_jpeg(image):
    """Return an RGB image as JPEG bytes (quality 95, colour not subsampled)."""
    return cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), _JPEG)[1].tobytes()


def encode_mask(mask):
    """Return a ``bool (H, W)`` mask as PNG bytes, without loss."""
    return cv2.imencode(".png", mask.astype(np.uint8) * 255)[1].tobytes()


def decode_image(data):
    """Return JPEG or PNG bytes as ``uint8 (H, W, 3)`` RGB."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise UserError("These bytes are no JPEG or PNG image.")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def decode_mask(data):
    """Return PNG bytes of `encode_mask` as ``bool (H, W)``."""
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE) >= 128
