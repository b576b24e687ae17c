"""Training pictures in pairs of a real face and its own fake (chapter 03_training).

The two show the same person in the same scene and go through the same chain of degradations, so
that neither person nor scene nor compression tells which is which. Half of the pairs, or another
share, are self-blended portraits, which are made while they are asked for; the others are fakes of
videos with the same frame of their original.
"""

import math

import numpy as np

from xaifake.data.blending import KINDS, draw_blend, self_blend
from xaifake.data.dataset import decode_image
from xaifake.data.degradations import PLAIN, SIZE, cut_turned, degrade, degrade_mask, draw_chain
from xaifake.data.faces import NOSE_TIP
from xaifake.detector.batches import PAIR, spread_over_clips


class PairedFaces:
    """Pairs to train on; takes the place of `EncodedFaces`.

    The attribute `easy` is a share, from 0 to 1, of all pairs: so many are not degraded, and those
    of portraits have clearly visible blends. A network that knows nothing yet finds no trace in the
    others.

    Row 2k is the real face of pair k, row 2k + 1 its fake. The pairs of videos come first, then
    one for each portrait, whose blend and degradations are another with each draw.

    Parameters
    ----------
    originals, fakes : list of bytes
        N JPEG files each of 128 x 128 pictures: real faces and the fakes made of them.
    clips : array, (N,)
        The video of each fake.
    scale : float
        Side of a square over the side of the face's box.
    portrait_share : float
        Share of the pairs that are made from portraits, 0 to 1.
    kinds : sequence of str
        Of `xaifake.data.blending.KINDS`, the blends that are made.
    portraits : xaifake.data.portrait_folders.FoundPortraits, optional
        Real faces to blend with themselves.
    """

    paired = True
    shape = (SIZE, SIZE, 3)

    def __init__(
        self, originals, fakes, clips, scale, portrait_share=0.5, kinds=KINDS, portraits=()
    ):
        self.originals, self.fakes, self.clips = originals, fakes, np.asarray(clips)
        self.portraits, self.scale = portraits, scale
        self.portrait_share, self.kinds = portrait_share, tuple(kinds)
        self.easy = 0.0

    @property
    def labels(self):
        """1 for a fake, 0 for a real face, of every row."""
        return np.tile([0, 1], len(self.fakes) + len(self.portraits))

    def draw_balanced(self, count, rng):
        """Return `count` rows, a real face and its fake by turns, each kind of source spread."""
        pairs = math.ceil(count / 2)
        of_portraits = round(self.portrait_share * pairs)
        clips = spread_over_clips(self.clips, pairs - of_portraits, rng)
        names = np.arange(len(self.portraits))
        drawn = spread_over_clips(names, of_portraits, rng) + len(self.fakes)
        chosen = rng.permutation(np.concatenate([clips, drawn]).astype(int))
        return np.stack([2 * chosen, 2 * chosen + 1], axis=1).ravel()[:count]

    @property
    def encoded(self):
        """All pictures of the videos."""
        return [*self.originals, *self.fakes]

    def counts(self):
        """Return how many pairs, clips and portraits there are."""
        videos = {"pairs": len(self.fakes), "clips": len(set(self.clips))}
        return {"videos": videos, "portraits": len(self.portraits)}

    def of_portraits(self, rows):
        """Say of each row whether it is made from a portrait, bool (len(rows),)."""
        return np.asarray(rows) // 2 >= len(self.fakes)

    def decode(self, rows, seed, first=0):
        """Return the pictures of some rows, uint8 (len(rows), 128, 128, 3).

        Parameters
        ----------
        rows : array of int
            As `draw_balanced` gives them, or a part.
        seed : sequence of int
            The same seed, rows and places give the same pictures.
        first : int
            Place of the first row in the whole.
        """
        pictures = np.empty((len(rows), *self.shape), dtype=np.uint8)
        made = None
        for place, row in enumerate(rows, start=first):
            if made is None or place % 2 == 0:
                made, _ = self.make(row // 2, [PAIR, *seed, place // 2])
            pictures[place - first] = made[row % 2]
        return pictures

    def make(self, pair, seed):
        """Make a pair by its number.

        Parameters
        ----------
        pair : int
        seed : sequence of int

        Returns
        -------
        pictures : tuple of numpy.ndarray
            Real and fake, uint8 (128, 128, 3).
        mask : numpy.ndarray or None
            bool (128, 128), what was pasted into a portrait; None for a pair of videos.
        """
        rng = np.random.default_rng(seed)
        easy = rng.uniform() < self.easy
        chain = PLAIN if easy else draw_chain(rng)
        if pair < len(self.fakes):
            # Turned faces are in the videos already, and a cut one has no pixels beyond its edge.
            pictures, face_px = self._of_videos(pair), SIZE / self.scale
        else:
            *pictures, alpha = self._of_portraits(pair - len(self.fakes), chain.angle, easy, rng)
            face_px = len(alpha) / self.scale
        made = tuple(degrade(picture, face_px, chain) for picture in pictures)
        return made, None if pair < len(self.fakes) else degrade_mask(alpha)

    def _of_videos(self, pair):
        return [decode_image(ones[pair]) for ones in (self.originals, self.fakes)]

    def _of_portraits(self, number, angle, easy, rng):
        picture = decode_image(self.portraits.encoded[number])
        landmarks, box = self.portraits.landmarks[number], self.portraits.boxes[number]
        blend = draw_blend(rng, self.kinds, easy)
        blended = self_blend(picture, landmarks, box, blend, rng)
        side = round(self.scale * box)
        return [cut_turned(one, landmarks[NOSE_TIP], side, angle) for one in blended]
