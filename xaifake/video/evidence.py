"""What a score is worth in words: none, weak or moderate evidence (chapter 15_explain_a_video).

A probability that a network prints is read as a chance, and is none. So the page says a word, and
a word is used only where it was earned: by how clips of known truth turned out whose people the
detector has never seen, counted as if as many were genuine as manipulated. The limits are found on
all people but one and tried on the one who was left out, each in turn; "moderate" has to earn its
share there too.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import beta
from sklearn.isotonic import IsotonicRegression

from xaifake.errors import UserError

# Least share of fakes among such scores where half of the clips are fakes. No word is stronger.
WORDS = {"moderate": 0.9, "weak": 2 / 3}
BASE_RATES = (0.5, 0.1, 0.01, 0.001)
_DRAWS = 20_000


@dataclass(frozen=True)
class Evidence:
    """What the scores of a detector are worth.

    Attributes
    ----------
    limits : dict of str to float
        By word of `WORDS`, the least logit that it is used for; infinite where it never is.
    labels : numpy.ndarray, (V,)
        1 for fake clips, 0 for real ones.
    words : numpy.ndarray of str, (V,)
        What each clip is called, "none" included, by limits that were found on other people.
    people : int
        In these clips.
    """

    limits: dict
    labels: np.ndarray
    words: np.ndarray
    people: int

    def word(self, logit: float) -> str:
        """Return "moderate", "weak" or "none" for a logit as of `log_odds`."""
        return next((word for word, least in self.limits.items() if logit >= least), "none")

    def counts(self, word: str) -> dict:
        """Count the test clips that are called so: fakes and reals, and of how many each."""
        called, fake = self.words == word, self.labels == 1
        return {
            "fakes": int((called & fake).sum()), "of_fakes": int(fake.sum()),
            "reals": int((called & ~fake).sum()), "of_reals": int((~fake).sum()),
        }  # fmt: skip

    def share(self, word: str, base_rate: float = 0.5) -> tuple[float, float, float]:
        """Return the share of fakes among the clips that are called so, and its 95 % interval.

        The interval is over people: clips of one person are counted as one clip, and the rates of
        fakes and of reals have Jeffreys' interval (Brown, Cai and DasGupta 2001), which has a width
        also where none was called so. All NaN where no clip was.

        Parameters
        ----------
        word : str
        base_rate : float
            Share of fakes among all clips.
        """
        n = self.counts(word)
        if not (n["fakes"] or n["reals"]):
            return np.nan, np.nan, np.nan
        rates = np.array([n["fakes"] / n["of_fakes"], n["reals"] / n["of_reals"]])
        draws = np.random.default_rng(0).beta(
            rates * self.people + 0.5, (1 - rates) * self.people + 0.5, (_DRAWS, 2)
        )
        share = _share_of_fakes(rates, base_rate)
        low, high = np.quantile(_share_of_fakes(draws.T, base_rate), [0.025, 0.975])
        # A share at the end of its interval is part of it.
        return float(share), float(min(low, share)), float(max(high, share))


def calibrate(labels: np.ndarray, logits: np.ndarray, people: np.ndarray) -> Evidence:
    """Find out what scores are worth.

    Parameters
    ----------
    labels : numpy.ndarray of int, (V,)
        1 for fake clips, 0 for real ones.
    logits : numpy.ndarray of float, (V,)
        Of people whom the detector has not seen; see `xaifake.video.reference.log_odds`.
    people : numpy.ndarray, (V,)
        Who is seen in each clip.

    Returns
    -------
    Evidence
        "moderate" is not used if it does not earn its share on the people who were left out.

    Raises
    ------
    UserError
        If the clips are not of two people, with fakes and reals of others left for each.
    """
    labels, logits, people = map(np.asarray, (labels, logits, people))
    words = np.full(len(labels), "none", dtype="<U8")
    names = np.unique(people)
    for name in names:
        own = people == name
        if len(np.unique(labels[~own])) < 2:
            raise UserError(
                f"Without the clips of {name} there are no fakes and reals left to tell what a "
                "score is worth: give both of two people or more."
            )
        found = Evidence(_limits(labels[~own], logits[~own]), labels, words, len(names))
        words[own] = [found.word(logit) for logit in logits[own]]
    limits = _limits(labels, logits)
    tried = Evidence(limits, labels, words, len(names))
    if not tried.share("moderate")[0] >= WORDS["moderate"]:
        limits = {**limits, "moderate": np.inf}
        words = np.where(words == "moderate", "weak", words)
    return Evidence(limits, labels, words, len(names))


def jeffreys(share: float, size: float) -> tuple[float, float]:
    """Return Jeffreys' 95 % interval of a share among `size` independent ones."""
    ends = beta.ppf([0.025, 0.975], share * size + 0.5, (1 - share) * size + 0.5)
    return float(min(ends[0], share)), float(max(ends[1], share))


def _limits(labels, logits):
    """Return the least logit of each word: where the rising share of fakes reaches what it asks."""
    weights = 0.5 / np.where(labels == 1, (labels == 1).mean(), (labels != 1).mean())
    rising = IsotonicRegression().fit(logits, labels, weights).predict(logits)
    return {
        word: float(logits[rising >= least].min(initial=np.inf)) for word, least in WORDS.items()
    }


def _share_of_fakes(rates, base_rate):
    """Return the share of fakes by Bayes' rule, of rates (2, ...) among fakes and among reals."""
    fakes, reals = base_rate * rates[0], (1 - base_rate) * rates[1]
    return fakes / (fakes + reals)
