"""Every method measured, and what to make of it (chapters 10_perturbations to 14_verdict).

`judge` measures and keeps what it has measured; `judged` reads the tables, those that come with
the package or a reader's own.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from importlib.metadata import version
from itertools import product
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from xaifake import __version__
from xaifake.data import load_faces
from xaifake.detector.detector import Detector, as_detector
from xaifake.detector.evaluation import sample_true_positives
from xaifake.detector.forward import MIN_FOR_OPENVINO, forward
from xaifake.errors import UserError
from xaifake.explainers import activations, innvestigate, map_layers
from xaifake.explainers.api import explain, methods
from xaifake.heatmaps import pack_maps, unpack_maps
from xaifake.judge import (
    cues,
    faithfulness,
    interventions,
    localisation,
    planted,
    protocols,
    sanity,
)
from xaifake.judge.perturbations import Blur, Noise, rotation, translation
from xaifake.judge.stability import SETTINGS, compare, interpolation_ceiling, stability
from xaifake.lazy import renamed_arguments
from xaifake.progress import progress_bar
from xaifake.runs import ResultCache, digest, read_parquet, write_text, write_whole
from xaifake.scales import SCALES

STORED = Path(__file__).parents[1] / "assets" / "judge"
WITHOUT_ORIGINALS = (
    "localisation", "swaps", "agreement", "stability", "randomisation", "planted",
    "planted_xception", "cost", "alike", "texture", "turned", "silent", "attacked", "harmless",
)  # fmt: skip
WITH_ORIGINALS = ("sums", "faithfulness", "regions", "outside", "shapley", "filling")
TABLES = (*WITHOUT_ORIGINALS, *WITH_ORIGINALS)


@dataclass(frozen=True)
class MethodConfig:
    """A way to make maps that is judged.

    Attributes
    ----------
    method, engine : str
        As `explain` takes them.
    options : tuple of (str, object)
        As `explain` takes them; a baseline may also be one of `xaifake.judge.faithfulness.FILLS`.
    absolute : bool
        Sizes are summed over the colours instead of signed values.
    slow : bool
        So slow that only the sample of fakes is explained.
    variant : str
        What tells it from the same method with other options.
    """

    method: str
    engine: str = "xaifake"
    options: tuple = ()
    absolute: bool = False
    slow: bool = False
    variant: str = ""

    def __post_init__(self):
        if (precision := dict(self.options).get("precision", "float32")) != "float32":
            raise UserError(f"Methods are judged in float32, not in {precision}.")

    @property
    def name(self):
        """What it is called in tables: the method, and what is particular about it."""
        if self.engine != "xaifake":
            return f"{self.method} (iNNvestigate)"
        particular = self.variant or ("absolute" if self.absolute else "")
        return f"{self.method} ({particular})" if particular else self.method

    def maps(self, detector, images, target="fake"):
        """Return heatmaps (N, H, W), float32, and the columns of `explain`'s report, a dict."""
        settings = {"engine": self.engine, "progress": False, **dict(self.options)}
        if isinstance(settings.get("baseline"), str):
            settings["baseline"] = faithfulness.fill(images, settings["baseline"])
        relevance = explain(detector, images, self.method, target=target, **settings)
        signed = np.asarray(relevance)
        heatmaps = np.abs(signed) if self.absolute else signed
        return heatmaps.sum(axis=-1), relevance.columns


# The general rules need settings, and the others would be judged twice under two names.
_LEFT_OUT = {"lrp", "lrp.alpha_beta", "lrp.z_plus", "lrp.sequential_preset_b_flat_until_idx"}
# Of those that ask the network often, with less of that than by default; occlusion has 17 x 17
# squares. A face costs about so many forward passes, for SmoothGrad and the path twice as many.
_OPTIONS = {
    "lime": (("num_samples", 200),),
    "integrated_gradients": (("steps", 32),),
    "kernel_shap": (("num_samples", 200),),
    "occlusion": (),
    "rise": (("samples", 200),),
    "smoothgrad": (("samples", 16),),
}
_SLIC = (("segmentation", "slic"), ("num_samples", 1000), ("fill", "blur"))
_VARIANTS = (
    MethodConfig("lime", options=_SLIC, slow=True, variant="slic"),
    MethodConfig("integrated_gradients", options=(("steps", 32), ("baseline", "blur")), slow=True,
                 variant="blur"),
)  # fmt: skip


def default_methods() -> tuple[MethodConfig, ...]:
    """Return every method there is, as it is judged if nothing else is said: tuple of
    `MethodConfig`.

    Those that are registered by a user are among them.
    """
    own = [name for name in methods() if name not in {*_LEFT_OUT, *_OPTIONS}]
    theirs = [name for name in methods("innvestigate") if name in own and name[:3] == "lrp"]
    signed = [MethodConfig(name) for name in own]
    signed.insert(1 + own.index("gradient"), MethodConfig("gradient", absolute=True))
    return (
        *signed,
        *(MethodConfig(name, options=options, slow=True) for name, options in _OPTIONS.items()),
        *_VARIANTS,
        *(MethodConfig(name, "innvestigate", slow=True) for name in [*theirs, "deconvnet"]),
    )


_MOVED = (
    "gradient", "gradient (absolute)", "input_t_gradient", "guided_backprop", "grad_cam",
    "lrp.epsilon", "lrp.alpha_1_beta_0", "lrp.alpha_2_beta_1", "lrp.sequential_preset_a_flat",
    "lrp.sequential_preset_b_flat", "integrated_gradients", "lime",
)  # fmt: skip
_SLOW_SETTINGS = (Blur(1), Noise(5), rotation(20), translation(8))
_COMPARED = (
    "lime", "lrp.sequential_preset_b_flat (iNNvestigate)", "integrated_gradients",
    "guided_backprop", "lrp.sequential_preset_b_flat", "gradient (absolute)", "grad_cam",
)  # fmt: skip
_FILLED = (
    "noise", "centred Gaussian", "patch_effect", "gradient (absolute)", "input_t_gradient",
    "guided_backprop", "grad_cam", "lrp.sequential_preset_b_flat", "integrated_gradients", "lime",
)  # fmt: skip


@dataclass(frozen=True)
class Protocol:
    """How many faces each test gets, and which methods the slow tests are made with.

    Attributes
    ----------
    found, sample : int
        Fakes that the detector finds: for localisation, and for all that is slower.
    slow_faces : int
        Of the sample, for the stability of methods that need many passes per map.
    shuffled_faces, draws : int
        Of the sample, for shuffled weights, a tenth of them for methods that need many passes; they
        are dealt to so many draws of the shuffling.
    timed : int
        Of the sample, for the cost.
    pool : int
        Faces that a cue is planted in.
    cues : tuple of str
        Which of `xaifake.judge.cues.CUES` the detector is fine-tuned to; if none are, there is no
        table planted_xception.
    fine_tuning : tuple of (str, object)
        How, as `xaifake.judge.cues.fine_tune` takes it.
    drawn : int
        Faces of each outcome (`xaifake.judge.protocols.OUTCOMES`) whose fine detail is changed;
        twice as many of all are turned.
    attacked, edited : int
        Of the sample, those whose named segments are attacked; real faces that are edited.
    ordered, orders : int
        Of the sample, those whose cells are put back in drawn orders, and in how many.
    moved : tuple of str
        Names of the methods that are compared under perturbations and with shuffled weights.
    settings, slow_settings : tuple of Perturbation
        Of these methods, and of those of them that need many passes.
    filled : tuple of str
        Names of methods and baselines whose orders are deleted and inserted.
    compared : tuple of str
        Names of methods that are compared pair by pair for each person.
    """

    found: int = 200
    sample: int = 50
    slow_faces: int = 12
    shuffled_faces: int = 50
    draws: int = 5
    timed: int = 16
    pool: int = 400
    cues: tuple = cues.CUES
    fine_tuning: tuple = ()
    drawn: int = 50
    attacked: int = 24
    edited: int = 24
    ordered: int = 6
    orders: int = 16
    moved: tuple = field(default_factory=lambda: _MOVED)
    settings: tuple = field(default_factory=lambda: SETTINGS)
    slow_settings: tuple = field(default_factory=lambda: _SLOW_SETTINGS)
    filled: tuple = field(default_factory=lambda: _FILLED)
    compared: tuple = field(default_factory=lambda: _COMPARED)


@renamed_arguments(faces="faces_dir")
def judge(
    out: str | Path,
    detectors: Detector | Sequence[Detector] | None = None,
    faces_dir: str | Path | None = None,
    split: str = "test",
    methods: Sequence[MethodConfig] | None = None,
    protocol: Protocol | None = None,
    seed: int = 0,
    progress: bool = True,
    folds: Sequence[int] | None = None,
) -> dict[str, pd.DataFrame]:
    """Measure methods on detectors; what is finished is kept, and a second call goes on.

    Shuffled weights, generic deletion, the planted cue and cost are measured on the last detector,
    all the rest on every one; the last one of each scale is fine-tuned to planted cues. Where
    iNNvestigate is not installed, its methods are left out with a warning.

    Parameters
    ----------
    out : str or Path
        Folder for the results.
    detectors : Detector or sequence of Detector, optional
        Each of another scale or fold; the shipped ones if not given.
    faces_dir : str or Path, optional
        Folder of `extract_faces`, whose "train" split gives the mean mask; the faces that come with
        the package if not given.
    split : str
        Which faces of that folder are judged: of people the detector has not seen.
    methods : sequence of MethodConfig, optional
        `default_methods` if not given.
    protocol : Protocol, optional
        Of how many faces what is asked; that of the book if not given.
    seed : int
        Of every draw.
    progress : bool
        Show a progress bar.
    folds : sequence of int, optional
        For each detector the fold that it was not trained on; its faces alone are then judged, see
        `xaifake.data.split_of_fold`.

    Returns
    -------
    dict of str to pandas.DataFrame
        By `TABLES`, see `judged`; they are also written into `out`, with `settings.json`. Without
        originals those of `WITHOUT_ORIGINALS` alone.

    Raises
    ------
    UserError
        If a detector finds no fakes among the faces, a fake has no mask, `out` belongs to other
        settings, or several detectors have the same scale and fold.
    """
    given = tuple(methods or default_methods())
    configs = _offered(given)
    versions = _versions(configs)  # now: what is missing is to be known before hours of work
    cases = [
        _Case(
            Path(out), detector, faces_dir, split, fold, seed, given, configs,
            protocol or Protocol(),
        )
        for detector, fold in _as_detectors(detectors, folds)
    ]  # fmt: skip
    # What is measured on some detectors only: the last one, and the last one of each scale.
    ends = {case.scale: case for case in cases}.values()
    jobs = [job for case in cases for job in case.jobs(case is cases[-1], case in ends)]
    bar = progress_bar(jobs, show=progress, unit="piece")
    for description, job in bar:
        bar.set_description(description)
        job()
    made = [case.tables(case is cases[-1], case in ends) for case in cases]
    names = [name for name in TABLES if any(name in tables for tables in made)]
    tables = {
        name: _small(pd.concat([t[name] for t in made if name in t], ignore_index=True))
        for name in names
    }
    for name, table in tables.items():
        with write_whole(Path(out) / f"{name}.parquet") as file:
            table.to_parquet(file, index=False)
    _write_settings(Path(out), cases, versions)
    return tables


def _as_detectors(detectors, folds):
    """Return pairs of a detector and its fold, which is None where there are no folds."""
    if detectors is None:
        return [(Detector.pretrained(scale), None) for scale in SCALES]
    found = [detectors] if isinstance(detectors, Detector) else list(map(as_detector, detectors))
    if folds is not None and len(folds) != len(found):
        raise UserError(f"{len(found)} detectors and {len(folds)} folds: give each its fold.")
    scales = [detector.scale for detector in found]
    pairs = list(zip(found, folds or [None] * len(found), strict=True))
    known = {(detector.scale, fold) for detector, fold in pairs}
    if len(known) < len(found) or None in scales:
        raise UserError(
            f"Detectors of the scales {scales}: results are told apart by scale and fold, so judge "
            "each of them in a folder of its own, or give them their scales."
        )
    return pairs


def _offered(given):
    """Return the configs whose packages are installed, and warn of those that are left out."""
    absent = innvestigate.missing()
    left_out = [config for config in given if config.engine == "innvestigate"] if absent else []
    if left_out:
        warnings.warn(
            f"Without {' and '.join(absent)}, not installed here, these are not judged: "
            f"{', '.join(config.name for config in left_out)}.",
            stacklevel=4,
        )
    return tuple(config for config in given if config not in left_out)


def _versions(configs):
    """Return the versions of what makes the maps of these configs."""
    # The modules know, whatever the packages are called that they came with.
    found = {"tensorflow": tf.__version__, "keras": keras.__version__, "numpy": np.__version__}
    for package in ("lime", "innvestigate"):
        if any(package in (config.method, config.engine) for config in configs):
            found[package] = version(package)
    return found


def _write_settings(out, cases, versions):
    engine = forward(cases[0].detector.model, MIN_FOR_OPENVINO).engine
    if engine not in versions:
        versions = {**versions, engine: version(engine)}
    record = {
        "detectors": [case.settings for case in cases],
        "minutes": round(sum(case.parts.seconds() for case in cases) / 60, 1),
        "engine": engine,
        "versions": {"xaifake": __version__, **versions},
    }
    write_text(out / "settings.json", json.dumps(record, indent=1) + "\n")


def judged(name: str, folder: str | Path | None = None) -> pd.DataFrame:
    """Return a table of what `judge` measured.

    Parameters
    ----------
    name : str
        One of these; all have `scale`, most `method` (the name of a method's `MethodConfig`, or one
        of `xaifake.judge.localisation.BASELINES`) and the face: video, frame, target, region.

        - localisation: `xaifake.judge.localisation.localise`, and `sampled`, whether the face is
          one of the fifty that every method was measured on;
        - swaps: `describe_swaps` of the faces;
        - agreement: one row per pair of methods, `method` and `other`: mean rank correlation of
          their maps over cells, and `beyond_centre`, with what both share with the centre taken
          out; `absolute` and `absolute_beyond_centre`, the same of the sizes;
        - stability: `xaifake.judge.stability.stability` by kind and strength, with the `ceiling_`
          of interpolation; kind "seed" compares two seeds of LIME;
        - randomisation: `xaifake.judge.sanity.randomisation_curve`, with `draw`, the number of the
          shuffling, and the face's number in the sample; it ranks nothing;
        - planted: see `xaifake.judge.planted.score_planted`;
        - planted_xception: `xaifake.judge.cues.planted_cue`;
        - cost: seconds per map, and `passes`, forward passes in that time;
        - sums: `logit` and `sum` of the map for fakes and their originals, and `same`, the rank
          correlation of the two maps over cells; `other`, that with another person's fake;
        - faithfulness: `score_against_effects`; `gap`, and `logit_drop_5` ..., what of it goes when
          these percent of the picture are put back in the map's order;
        - regions: `region_effects`;
        - filling: logits when cells are deleted or inserted, by fill and share; with the fill
          "road", `xaifake.judge.faithfulness.road`;
        - alike: one row per pair of methods and person, the columns of agreement;
        - texture, outside: `xaifake.judge.interventions.texture_effects` of faces of each
          `outcome`, and `outside_effects` of those that are fakes;
        - shapley: per face the rank correlation of `patch_effects` with Shapley's values of the
          cells (`correlation`), that of two halves of the orders (`halves`), and the mean
          difference per cell as a share of the mean size of the values (`error`);
        - turned: `xaifake.judge.protocols.turned_verdicts`;
        - silent: `silent`, the share of the deepest layer's channels that are 0 all over a face;
        - attacked: `xaifake.judge.protocols.attack_named_segments`;
        - harmless: `xaifake.judge.protocols.harmless_edits`.

        Where detectors have folds, there is a column `fold`.
    folder : str or Path, optional
        The `out` of `judge`; what was measured on the shipped detectors if not given.

    Returns
    -------
    pandas.DataFrame

    Raises
    ------
    UserError
        If there is no such table.
    """
    path = Path(folder or STORED) / f"{name}.parquet"
    if name not in TABLES:
        raise UserError(f"No table {name!r}: give one of {', '.join(TABLES)}.")
    if not path.is_file():
        raise UserError(
            f"There is no {path.name} in {path.parent}: run `xaifake judge` to its end. (Without "
            f"originals it makes {', '.join(WITHOUT_ORIGINALS)} alone.)"
        )
    return read_parquet(path).to_pandas()


def judged_settings(folder=None):
    """Return what `judge` measured on and with: detectors, versions and minutes."""
    path = Path(folder or STORED) / "settings.json"
    if not path.is_file():
        raise UserError(f"There is no settings.json in {path.parent}: run `xaifake judge` first.")
    return json.loads(path.read_text(encoding="utf-8"))


class _Case:
    """One detector with its faces, and the pieces that are finished."""

    def __init__(self, out, detector, faces, split, fold, seed, given, configs, protocol):
        self.scale, self.seed, self.folder, self.fold = detector.scale, seed, faces, fold
        self.configs, self.protocol, self.detector = configs, protocol, detector
        self.by_name = {config.name: config for config in configs}
        self.moving = [config for config in configs if config.name in protocol.moved]
        test = load_faces(faces, split if faces else None, self.scale, **self.in_fold)
        self.sample = sample_true_positives(detector, test, protocol.sample, seed)
        self.found = _draw_found(detector, test, self.sample, protocol.found, seed)
        localisation.check_masks(self.found)  # now, and not after hours of work
        self.pool = test if len(test) <= protocol.pool else test[:: len(test) // protocol.pool]
        self.drawn = protocols.draw_by_outcome(detector, test, protocol.drawn, seed)
        rows = np.random.default_rng(seed).permutation(len(test))[: 2 * protocol.drawn]
        self.test, self.any = test, test[np.sort(rows)]
        self.originals = self.sample.originals is not None
        self.settings = {
            "scale": self.scale,
            "seed": seed,
            "weights": detector.fingerprint,
            "faces": digest(test.images),
            "found": len(self.found),
            "sample": len(self.sample),
            "people": int(self.found.table.target.nunique()),
            "protocol": digest(repr(protocol)),
            "options": {config.name: dict(config.options) for config in given if config.options},
        }
        if fold is not None:
            self.settings["fold"] = fold
        self.name = f"{self.scale}x" if fold is None else f"{self.scale}x_{fold}"
        self.parts = ResultCache(out / "parts" / self.name, self.settings).claim()

    @property
    def in_fold(self):
        """What the functions that read faces must be told of the fold."""
        return {} if self.fold is None else {"fold": self.fold}

    def jobs(self, last, tuned):
        """Return (description, function without arguments) of every piece."""
        jobs = [job for config in self.configs for job in self.of_method(config, last)]
        names = ("texture", "turned", "silent", "attacked", "harmless")
        jobs += [(name, getattr(self, name)) for name in names]
        jobs += [("LIME's seeds", self.seeds)] if "lime" in self.by_name else []
        if self.originals:
            jobs += [("outside", self.outside), ("orders of cells", self.shapley)]
            jobs += [("causal maps", self.effects), ("best order", self.best)]
            jobs += [(f"put back, {name}", partial(self.restored, name)) for name in self.names()]
            jobs += [("regions", self.regions)]
        if tuned:
            jobs += [(f"cue {cue}", partial(self.cue, cue)) for cue in self.protocol.cues]
        if last:
            jobs += [("planted cue", self.planted)]
            jobs += [(f"shuffled, {e.name}", partial(self.shuffled, e)) for e in self.moving]
        if last and self.originals:
            jobs += [(f"filling, {name}", partial(self.filling, name)) for name in self.filled()]
        return [(f"{self.name} {description}", job) for description, job in jobs]

    def of_method(self, config, last):
        """Return the pieces of one config that need its compiled network, one after another."""
        jobs = [(f"maps, {config.name}", partial(self.maps, config))]
        if self.originals and not config.slow:
            jobs.append((f"originals, {config.name}", partial(self.original_maps, config)))
        if last:
            jobs.append((f"cost, {config.name}", partial(self.cost, config)))
        if config in self.moving:
            jobs.append((f"stability, {config.name}", partial(self.moved, config)))
        return jobs

    def tables(self, last, tuned):
        """Return the finished tables of this detector."""
        made = {
            "localisation": self.localisation(),
            "swaps": self.describe(self.found, localisation.describe_swaps(self.found)),
            "agreement": self.agreement(),
            "alike": self.alike(),
            "texture": self.texture(),
            "turned": self.turned(),
            "silent": self.silent(),
            "attacked": self.attacked(),
            "harmless": self.harmless(),
        }
        moved = [self.moved(config) for config in self.moving]
        moved += [self.seeds()] if "lime" in self.by_name else []
        if moved:
            made["stability"] = pd.concat(moved, ignore_index=True)
        if last:
            made["cost"] = pd.concat([self.cost(config) for config in self.configs])
            if self.moving:
                made["randomisation"] = pd.concat([self.shuffled(one) for one in self.moving])
            made["planted"] = self.planted()
        if tuned and self.protocol.cues:
            made["planted_xception"] = pd.concat([self.cue(one) for one in self.protocol.cues])
        if self.originals:
            made["sums"] = pd.concat([self.sums(e) for e in self.configs if not e.slow])
            made["faithfulness"] = pd.concat([self.restored(name) for name in self.names()])
            made |= {"regions": self.regions(), "outside": self.outside()}
            made["shapley"] = self.shapley()
            if last:
                made["filling"] = pd.concat([self.filling(name) for name in self.filled()])
        whose = {"scale": self.scale, **self.in_fold}
        return {name: table.assign(**whose) for name, table in made.items()}

    def names(self):
        """Everything that orders cells: methods, baselines, and the experiment's own orders."""
        return [*(e.name for e in self.configs), *localisation.BASELINES, "patch_effect", "best"]

    def filled(self):
        """Return the names whose orders are deleted and inserted."""
        return [name for name in self.protocol.filled if name in self.names()]

    def maps(self, config):
        """Return the heatmaps of a config and what they say of themselves."""
        return self.parts.cached_arrays(f"maps/{config.name}", lambda: self._make_maps(config))

    def _make_maps(self, config):
        images = (self.sample if config.slow else self.found).images
        heatmaps, columns = config.maps(self.detector, images)
        return _pack(heatmaps) | columns

    def original_maps(self, config):
        """Return the heatmaps of the originals of the sample."""

        def make():
            heatmaps, columns = config.maps(self.detector, self.sample.originals)
            return _pack(heatmaps) | {name: columns[name] for name in ("logit", "sum")}

        return self.parts.cached_arrays(f"originals/{config.name}", make)

    def heatmaps(self, name, faces):
        """Return the maps of a method or baseline for `found` or `sample`."""
        if name in localisation.BASELINES:
            return localisation.baselines(faces, self.mean_mask, self.seed)[name]
        config = self.by_name[name]
        heatmaps = _unpack(self.maps(config))
        if faces is self.sample and not config.slow:
            return heatmaps[self.sampled]
        return heatmaps

    @cached_property
    def sampled(self):
        """Which of the fakes that were found are in the sample."""
        keys = ["video", "frame"]
        sample = pd.MultiIndex.from_frame(self.sample.table[keys])
        return pd.MultiIndex.from_frame(self.found.table[keys]).isin(sample)

    @cached_property
    def mean_mask(self):
        """Share of the training fakes that are manipulated at each pixel."""
        return localisation.mean_mask(self.scale, self.folder, self.fold)

    def describe(self, faces, table):
        """Put what identifies faces in front of a table that has all of them, once or more."""
        columns = ["video", "frame", "target", "region", "outcome"]
        known = faces.table[[name for name in columns if name in faces.table]]
        known = pd.concat([known] * (len(table) // len(known)), ignore_index=True)
        return pd.concat([known, table.reset_index(drop=True)], axis=1)

    def localisation(self):
        """Score the maps of all configs and baselines."""
        parts = []
        for name in [*(config.name for config in self.configs), *localisation.BASELINES]:
            slow = name not in localisation.BASELINES and self.by_name[name].slow
            faces = self.sample if slow else self.found
            scores = localisation.localise(self.heatmaps(name, faces), faces)
            sampled = np.ones(len(faces), bool) if slow else self.sampled
            parts.append(self.describe(faces, scores.assign(method=name, sampled=sampled)))
        return pd.concat(parts, ignore_index=True)

    def agreement(self):
        """Correlate the maps of every pair of methods, over cells."""
        names = [*(config.name for config in self.configs), "edges", "centred Gaussian"]
        return self.correlated(names, slice(None))

    def alike(self):
        """Correlate the maps of the methods that are compared, for each person."""
        names = [config.name for config in self.configs if config.name in self.protocol.compared]
        people = self.sample.table.target.to_numpy()
        parts = [self.correlated(names, people == one).assign(target=one)
                 for one in dict.fromkeys(people)]  # fmt: skip
        return pd.concat(parts, ignore_index=True)

    def correlated(self, names, which):
        """Return the mean rank correlations over some faces, with sign and of the sizes."""
        cells = np.stack([self.cells(name)[which] for name in names])
        flat = cells.reshape(*cells.shape[:2], -1)
        sizes = np.stack([faithfulness.cell_sums(np.abs(self.heatmaps(name, self.sample)[which]))
                          for name in names])  # fmt: skip
        scores = (*localisation.rank_agreement(flat),
                  *localisation.rank_agreement(sizes.reshape(flat.shape)))  # fmt: skip
        pairs = [(i, j) for j in range(len(names)) for i in range(j)]
        rows = [(names[i], names[j], *(score[i, j] for score in scores)) for i, j in pairs]
        columns = ["rank_correlation", "beyond_centre", "absolute", "absolute_beyond_centre"]
        return pd.DataFrame(rows, columns=["method", "other", *columns])

    def cost(self, config):
        """Measure what a map costs, compiling left out, and how it fared where a method says so."""

        def make():
            images = self.sample.images[: 2 if config.slow else self.protocol.timed]
            config.maps(self.detector, images[:1])
            self.detector.logits(images)
            seconds = [
                _seconds(lambda: config.maps(self.detector, images)),
                _seconds(lambda: self.detector.logits(self.sample.images)),
            ]
            each = seconds[0] / len(images)
            row = {"method": config.name, "seconds": each}
            row["passes"] = each / (seconds[1] / len(self.sample))
            maps = self.maps(config)
            for said in ("r2", "completeness_error"):
                row[said] = float(np.median(maps[said])) if said in maps else np.nan
            return pd.DataFrame([row])

        return self.parts.cached_table(f"cost/{config.name}", make)

    def sums(self, config):
        """Compare the maps of fakes with their originals', and sums with logits."""
        maps, originals = self.maps(config), self.original_maps(config)
        fakes, real = self.heatmaps(config.name, self.sample), _unpack(originals)
        flat = [faithfulness.cell_sums(m).reshape(len(m), -1) for m in (fakes, real)]
        rows = localisation.next_person(self.sample.table.target)
        table = pd.DataFrame(
            {
                "method": config.name,
                "logit": maps["logit"][self.sampled],
                "sum": maps["sum"][self.sampled],
                "logit_original": originals["logit"],
                "sum_original": originals["sum"],
                "same": compare(*flat).rank_correlation,
                "other": compare(flat[0], flat[0][rows]).rank_correlation,
            }
        )
        return self.describe(self.sample, table)

    def effects(self):
        """Return the experiment's maps of the sample."""
        made = self.parts.cached_arrays(
            "patch_effects",
            lambda: vars(faithfulness.patch_effects(self.detector, self.sample, progress=False)),
        )
        return faithfulness.PatchEffects(**made)

    def best(self):
        """Return the greedy order of the cells of the sample."""

        def make():
            return {"order": faithfulness.best_order(self.detector, self.sample, self.effects())}

        return self.parts.cached_arrays("best_order", make)["order"]

    def order(self, name):
        """Return the cells in the order of a map, a baseline or the experiment."""
        if name == "best":
            return self.best()
        scores = self.effects().effect if name == "patch_effect" else self.cells(name)
        return faithfulness.order_cells(scores, self.seed)

    def cells(self, name):
        """Return a map's sums over cells; the baseline "chance" comes in a random order."""
        return faithfulness.cell_sums(self.heatmaps(name, self.sample))

    def restored(self, name):
        """Score an order of cells by what the logit loses."""

        def make():
            count = len(self.names()) * len(self.sample) * len(faithfulness.SHARES)
            order = self.order(name)
            logits = faithfulness.restore_cells(self.detector, self.sample, order, count=count)
            effects = self.effects()
            lost = effects.fake[:, None] - logits
            columns = {f"logit_drop_{share:.0%}".rstrip("%"): lost[:, k]
                       for k, share in enumerate(faithfulness.SHARES)}  # fmt: skip
            table = pd.DataFrame(
                {"method": name, "gap": effects.fake - effects.original, **columns}
            )
            if name not in ("patch_effect", "best"):
                heatmaps = self.heatmaps(name, self.sample)
                table = table.join(faithfulness.score_against_effects(heatmaps, effects))
            return table

        return self.kept(f"restored/{name}", self.sample, make)

    def regions(self):
        """Put back the regions of the face one at a time."""
        return self.kept("regions", self.sample, lambda: faithfulness.region_effects(
            self.detector, self.sample))  # fmt: skip

    def outside(self):
        """Change the inside and the outside of fakes, those that are missed among them."""
        faces = self.drawn[np.isin(self.drawn.table.outcome, protocols.OUTCOMES[:2])]
        return self.kept("outside", faces, lambda: interventions.outside_effects(
            self.detector, faces, self.test))  # fmt: skip

    def texture(self):
        """Change the fine detail inside and outside of faces of each outcome."""
        return self.kept("texture", self.drawn, lambda: interventions.texture_effects(
            self.detector, self.drawn, self.seed))  # fmt: skip

    def turned(self):
        """Turn faces of all kinds."""
        return self.kept("turned", self.any,
                         lambda: protocols.turned_verdicts(self.detector, self.any))  # fmt: skip

    def silent(self):
        """Count the channels of the deepest layer with maps that say nothing of a face."""

        def make():
            layer = map_layers(self.detector)[-1]
            maps = activations(self.detector, self.any.images, layer, progress=False)
            return pd.DataFrame({"silent": (maps <= 0).all(axis=(1, 2)).mean(axis=1)})

        return self.kept("silent", self.any, make)

    def attacked(self):
        """Attack the segments that maps name."""
        which = localisation.spread(self.sample, self.protocol.attacked)
        faces = self.sample[which]

        def make():
            names = [config.name for config in self.moving]
            names += ["edges", "centred Gaussian", "mean mask"]
            heatmaps = {name: self.heatmaps(name, self.sample)[which] for name in names}
            heatmaps["mask"] = faces.masks.astype(float)
            return protocols.attack_named_segments(
                self.detector, faces.images, heatmaps, seed=self.seed
            )

        return self.kept("attacked", faces, make)

    def harmless(self):
        """Edit real faces harmlessly, and see who is called fake and what maps show of it."""
        real = self.drawn[self.drawn.table.outcome == "real"]
        faces = real[localisation.spread(real, self.protocol.edited)]
        quick = [config for config in self.moving if not config.slow]
        ways = {config.name: lambda detector, images, config=config: config.maps(
                    detector, images)[0] for config in quick}  # fmt: skip
        return self.kept("harmless", faces, lambda: protocols.harmless_edits(
            self.detector, faces, ways, self.seed))  # fmt: skip

    def shapley(self):
        """Tell how good the mean of the first and the last place is."""
        which = localisation.spread(self.sample, self.protocol.ordered)
        faces = self.sample[which]

        def make():
            halves = faithfulness.shapley_cells(
                self.detector, faces, self.protocol.orders, seed=self.seed
            )
            values = halves.mean(axis=0)
            rows = []
            for n, place in enumerate(np.arange(len(self.sample))[which]):
                there = self.effects().changed[place]
                effect, value = self.effects().effect[place][there], values[n][there]
                one, other = halves[:, n][:, there]
                rows.append({
                    "correlation": faithfulness.rank_correlation(effect, value),
                    "halves": faithfulness.rank_correlation(one, other),
                    "error": np.abs(effect - value).mean() / np.abs(value).mean(),
                })  # fmt: skip
            return pd.DataFrame(rows)

        return self.kept("shapley", faces, make)

    def kept(self, name, faces, make):
        """Return a table about faces, which is made once."""
        return self.parts.cached_table(name, lambda: self.describe(faces, make()))

    def moved(self, config):
        """Compare the maps of perturbed pictures with the pictures' own."""
        few = localisation.spread(self.sample, self.protocol.slow_faces if config.slow else None)
        faces = self.sample[few]

        def make():
            settings = self.protocol.slow_settings if config.slow else self.protocol.settings
            heatmaps, parts = self.heatmaps(config.name, self.sample)[few], []
            for perturbation in settings:
                perturbed, _ = config.maps(self.detector, perturbation.apply(faces.images))
                table = stability(heatmaps, perturbed, perturbation)
                ceiling = interpolation_ceiling(heatmaps, perturbation).add_prefix("ceiling_")
                table = pd.concat([table, ceiling], axis=1).assign(
                    method=config.name,
                    kind=perturbation.kind,
                    strength=float(perturbation.strength),
                )
                parts.append(table)
            return pd.concat(parts, ignore_index=True)

        return self.kept(f"stability/{config.name}", faces, make)

    def seeds(self):
        """Compare LIME's maps of two seeds."""
        few = localisation.spread(self.sample, self.protocol.slow_faces)
        faces = self.sample[few]

        def make():
            config = self.by_name["lime"]
            again = replace(config, options=(*config.options, ("seed", 1)))
            heatmaps, _ = again.maps(self.detector, faces.images)
            table = stability(self.heatmaps("lime", self.sample)[few], heatmaps, Blur(0))
            return table.assign(method="lime", kind="seed", strength=1.0)

        return self.kept("stability/seeds", faces, make)

    def shuffled(self, config):
        """Follow the maps while the network's weights are shuffled."""

        def make():
            count = self.protocol.shuffled_faces
            faces = localisation.spread(self.sample, -(-count // 10) if config.slow else count)
            heatmaps, parts = self.heatmaps(config.name, self.sample), []
            for draw in range(min(self.protocol.draws, len(faces))):
                own = faces[draw :: self.protocol.draws]
                curve = sanity.randomisation_curve(
                    self.detector,
                    lambda detector, images: config.maps(detector, images)[0],
                    self.sample.images[own],
                    heatmaps[own],
                    seed=self.seed + draw,
                )
                parts.append(curve.assign(face=own[curve.face], draw=draw))
            return pd.concat(parts, ignore_index=True).assign(method=config.name)

        return self.parts.cached_table(f"shuffled/{config.name}", make)

    def planted(self):
        """Plant a cue, train on it and ask every method for it."""
        ways = {e.name: e.maps for e in self.configs if e.engine == "xaifake"}
        return self.parts.cached_table("planted", lambda: planted.sweep(self.pool, ways, self.seed))

    def cue(self, cue):
        """Fine-tune the detector to a cue and ask the methods of the registry for it."""

        def make():
            # Other engines and settings of the same methods are left to the tests of real fakes.
            asked = [e for e in self.configs if e.engine == "xaifake" and not e.variant]
            ways = {e.name: lambda detector, images, e=e: e.maps(detector, images)[0]
                    for e in asked}  # fmt: skip
            slow = [e.name for e in asked if e.slow]
            return cues.planted_cue(
                self.detector, self.test, cue, ways, slow, self.protocol.sample,
                self.protocol.slow_faces, self.seed, progress=False,
                **dict(self.protocol.fine_tuning),
            )  # fmt: skip

        return self.parts.cached_table(f"cues/{cue}", make)

    def filling(self, name):
        """Delete and insert cells with generic fills."""

        def make():
            orders, rows = self.order(name), []
            acts = {"deletion": faithfulness.deletion, "insertion": faithfulness.insertion}
            runs = list(product(acts.items(), faithfulness.FILLS))
            pictures = len(self.sample) * len(faithfulness.FILL_SHARES)
            count = len(self.filled()) * len(runs) * pictures
            for (act, run), fill in runs:
                logits = run(self.detector, self.sample.images, orders, fill, count=count)
                rows += _filled_rows(logits, faithfulness.FILL_SHARES, fill, act)
            logits = faithfulness.road(self.detector, self.sample.images, orders, seed=self.seed)
            rows += _filled_rows(logits, faithfulness.SHARES, "road", "deletion")
            return pd.concat(rows, ignore_index=True).assign(method=name)

        return self.kept(f"filling/{name}", self.sample, make)


def _filled_rows(logits, shares, fill, act):
    """Return a table for each share."""
    return [
        pd.DataFrame({"logit": column, "share": share, "fill": fill, "act": act})
        for share, column in zip(shares, logits.T, strict=True)
    ]


def _draw_found(detector, faces, sample, count, seed):
    """Return at most `count` fakes that the detector finds, the sample first, people in turns."""
    found = np.flatnonzero((faces.labels == 1) & (detector.logits(faces.images) > 0))
    rows = np.random.default_rng(seed).permutation(found)
    table = faces.table.iloc[rows].assign(row=rows)
    sampled = pd.MultiIndex.from_frame(sample.table[["video", "frame"]])
    later = ~pd.MultiIndex.from_frame(table[["video", "frame"]]).isin(sampled)
    table = table.iloc[np.argsort(later, kind="stable")]  # who is in the sample has had a turn
    turns = table.groupby("target").cumcount().to_numpy()
    order = np.lexsort((turns, np.sort(later)))
    return faces[np.sort(table.row.to_numpy()[order][:count])]


def _seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def _pack(heatmaps):
    return dict(zip(("maps", "peaks"), pack_maps(heatmaps)))


def _unpack(stored):
    return unpack_maps(stored["maps"], stored["peaks"])


def _small(table):
    """Numbers as float32: half of the room, and more digits than a score has."""
    return table.astype({c: "float32" for c in table.select_dtypes("float64")})
