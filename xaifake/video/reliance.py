"""Whether people rely on a detector's answers where they should (chapter 15_explain_a_video).

A study asks each reader about each face twice: before they know what the detector says, and after
it. Advice helps who takes it where it is right and lets it be where it is wrong. Both are counted
apart (Schemmer et al. 2023), with and without maps.
"""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import norm

from xaifake.detector.intervals import interval_over_people
from xaifake.errors import UserError

ITEMS = 40  # of a study; half of the advice is right
COLUMNS = ("reader", "item", "truth", "advice", "maps", "alone", "final")
_ASKED = (("RAIR", True), ("RSR", False))  # measure, and whether the advice is right
_MANY = 4000  # readers, who tell how much readers differ


def read_answers(paths: Iterable[str | Path]) -> pd.DataFrame:
    """Read the files that the readers of a study kept.

    Returns
    -------
    pandas.DataFrame
        One row per reader and item: reader and item (names); truth, advice, alone and final (1 is
        manipulated, 0 genuine), the last two of the reader before and after the advice; and whether
        maps were shown.

    Raises
    ------
    UserError
        If a file is not one of the study's, or two are of the same reader.
    """
    tables = []
    for path in map(Path, paths):
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            table = pd.DataFrame(kept["answers"]).assign(reader=kept["reader"])[list(COLUMNS)]
        except (OSError, ValueError, TypeError, KeyError):
            raise UserError(f"{path} is no file of answers as the study's page saves it.") from None
        tables.append(table)
    readers = [table.reader.iloc[0] for table in tables]
    if not readers or len(set(readers)) < len(readers):
        raise UserError(f"{len(readers)} files of {len(set(readers))} readers: give one of each.")
    return pd.concat(tables, ignore_index=True)


def reliance(answers: pd.DataFrame, seed: int = 0, resamples: int = 1000) -> pd.DataFrame:
    """Say how often advice was taken where it was right, and left where it was wrong.

    Parameters
    ----------
    answers : pandas.DataFrame
        Of `read_answers`.
    seed, resamples : int
        Of the bootstrap over readers.

    Returns
    -------
    pandas.DataFrame
        One row per `shown` ("no maps", "maps", and "difference", the second less the first) and
        `measure`: "RAIR", of the answers that were wrong alone and got right advice, the share that
        took it; and "RSR", of those that were right alone and got wrong advice, the share that
        stayed. With value, low, high (95 % intervals over readers), and n, the answers counted.
    """
    right_advice = answers.advice == answers.truth
    right_alone = answers.alone == answers.truth
    asked = {"RAIR": right_advice & ~right_alone, "RSR": ~right_advice & right_alone}
    good = (answers.final == answers.truth).to_numpy(float)
    maps = answers.maps.to_numpy(bool)
    counted = [(name, (where & (maps == with_maps)).to_numpy(float))
               for with_maps in (False, True) for name, where in asked.items()]  # fmt: skip

    def measure(weights):
        with np.errstate(invalid="ignore"):
            shares = [(weights * of) @ good / (weights @ of) for _, of in counted]
        return [*shares, shares[2] - shares[0], shares[3] - shares[1]]

    values = measure(np.ones(len(answers)))
    low, high = interval_over_people(measure, answers.reader, seed, resamples)
    sizes = [int(of.sum()) for _, of in counted]
    return pd.DataFrame(
        {
            "shown": np.repeat(["no maps", "maps", "difference"], 2),
            "measure": ["RAIR", "RSR"] * 3, "value": values, "low": low, "high": high,
            "n": [*sizes, sizes[0] + sizes[2], sizes[1] + sizes[3]],
        }
    )  # fmt: skip


def simulate_readers(
    readers: int,
    skill: float = 0.6,
    trust: float = 0.5,
    persuasion: float = 0.1,
    spread: float = 0.15,
    seed: int = 0,
) -> pd.DataFrame:
    """Make up the answers of readers who are not there, to try an analysis on.

    Parameters
    ----------
    readers : int
    skill : float
        Chance that somebody is right alone.
    trust : float
        Chance that somebody takes advice that contradicts them, right or wrong, without maps.
    persuasion : float
        What maps add to that chance, for right and wrong advice alike. So RAIR is `trust` without
        and `trust` plus `persuasion` with maps; RSR is 1 less that.
    spread : float
        Standard deviation of the trust from reader to reader; it stays between 0 and 1.
    seed : int

    Returns
    -------
    pandas.DataFrame
        As of `read_answers`.
    """
    rng = np.random.default_rng(seed)
    shape = readers, ITEMS
    truth = np.broadcast_to(np.arange(ITEMS) % 2, shape)
    wrong = np.broadcast_to(np.arange(ITEMS) // 2 % 2, shape)
    maps = rng.permuted(np.broadcast_to(np.arange(ITEMS) // 4 % 2, shape), axis=1)
    alone = truth ^ (rng.random(shape) >= skill)
    own = np.clip(rng.normal(trust, spread, (readers, 1)) + persuasion * maps, 0, 1)
    advice = truth ^ wrong
    final = np.where((alone != advice) & (rng.random(shape) < own), advice, alone)
    names = np.indices(shape).reshape(2, -1)
    columns = [*names, *(part.ravel() for part in (truth, advice, maps == 1, alone, final))]
    return pd.DataFrame(dict(zip(COLUMNS, columns, strict=True)))


def readers_needed(persuasion: float, power: float = 0.8, **assumed) -> dict[str, int]:
    """Return how many readers a study needs to see what maps do, by measure.

    Parameters
    ----------
    persuasion : float
        The difference that is to be seen, see `simulate_readers`.
    power : float
        Chance that its 95 % interval excludes no difference.
    **assumed
        Of `simulate_readers`.

    Returns
    -------
    dict of str to int
        For "RAIR" and "RSR": by the usual formula for a mean, with the standard deviation that the
        readers' own shares have in a large simulated study.
    """
    many = simulate_readers(_MANY, persuasion=persuasion, **assumed)
    answers = many.assign(good=many.final == many.truth, right=many.advice == many.truth)
    answers = answers[(answers.alone == answers.truth) != answers.right]
    own = answers.pivot_table("good", "reader", ["right", "maps"])
    factor = (norm.ppf(0.975) + norm.ppf(power)) ** 2
    apart = {name: own[right][True] - own[right][False] for name, right in _ASKED}
    return {name: int(np.ceil(factor * d.var() / d.mean() ** 2)) for name, d in apart.items()}
