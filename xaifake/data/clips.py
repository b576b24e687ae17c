"""The embedded clips, in DeepFakeDetection's own folders and file names (chapter 01_dataset).

Short videos made from the consented portraits: real ones, and face swaps of which each has a
original that shares every other draw. They stand in for a data set that is given out on request
only; scores on them say nothing about DeepFakeDetection or about the world.
"""

from __future__ import annotations

import json
import os
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from joblib import cpu_count
from platformdirs import user_cache_path

from xaifake.data import portraits
from xaifake.data.dataset import split_of_fold
from xaifake.data.dfd import read_catalogue
from xaifake.data.encoding import H264, VideoWriter
from xaifake.data.layouts import FAKE_FOLDER, REAL_FOLDER
from xaifake.data.marks import LABELLED, MASK, SWAP, mp4_box
from xaifake.data.media import open_media
from xaifake.data.rendering import FRAME_SIZE, SCENES, Scene
from xaifake.data.swaps import HULLS, REGIONS, Recipe, swap
from xaifake.data.workers import run_tasks
from xaifake.errors import UserError
from xaifake.progress import progress_bar
from xaifake.runs import RunFolder, digest, write_text

N_FRAMES = 32
_SIZE = (FRAME_SIZE, FRAME_SIZE)
_DEGRADED_SHARE = 0.9
# Of the clips for cross-fitting: half of the fakes betray themselves by seam and colour alone.
_FOLDS_DEGRADED_SHARE = 0.5
_REAL_VIDEOS = REAL_FOLDER / "c23" / "videos"
_FAKE_VIDEOS = FAKE_FOLDER / "c23" / "videos"
_MASK_VIDEOS = FAKE_FOLDER / "masks" / "videos"
_RECIPE_COLUMNS = list(Recipe.__dataclass_fields__)
_MASK_CRF = 10
_ALIKE = 10  # grey levels: own first frames are 1.8 to 3.8 from the rendered one, others 26 to 66
# The modules of this folder that decide what is in a clip.
_GENERATOR = ("portraits", "swaps", "rendering", "clips")
# Measured on an x86 server: seconds of one core, and megabytes with the mask, for each clip.
_SECONDS_PER_CLIP = 0.6
_MEGABYTES_PER_CLIP = 0.05


def plan_clips(size="small", seed=0):
    """List the clips of a set without making them.

    Every scene of a person gives one real clip and several fakes. The first scene of a test
    person has a whole-face fake and all five regional ones, all from the same source; their other
    scenes have whole-face fakes from two sources. The scenes of all others have two whole-face
    fakes and a regional one.

    Parameters
    ----------
    size : {"full", "small", "tiny", "leakage", "folds"}
        ``"full"``: four scenes of everybody, what the detector is trained on; ``"small"``: two
        scenes of the test people, what the chapters show; ``"tiny"``: one scene of four test
        people, to try things; ``"leakage"``: a fifth scene, which no detector was trained on, of
        16 training people and of all 16 test people; ``"folds"``: four scenes of everybody for
        cross-fitting. There a column ``fold`` has the person's number from `deal_people`, all
        sources are of the target's fold, the first scene of everybody has all six kinds of fake,
        and half of the fakes are degraded instead of nine in ten.
    seed : int

    Returns
    -------
    pandas.DataFrame
        One row per clip: ``video`` (the file's stem), ``label`` (1 fake), ``target``, ``source``,
        ``scene``, ``split``, ``kind`` (``"real"``, ``"whole"``, ``"regional"``) and the fields of
        `xaifake.data.swaps.Recipe`; also ``resolution`` and ``blur`` of the scene's camera.

    Raises
    ------
    UserError
        If there is no such size.
    """
    if size == "folds":
        return _plan_folds(seed)
    splits = portraits.split_people(seed)
    test = splits.index[splits == "test"]
    scenes = list(SCENES)
    sizes = {
        "full": (splits.index, scenes[:4]),
        "small": (test, scenes[:2]),
        "tiny": (test[:4], scenes[:1]),
        "leakage": (splits.index[splits == "train"][:16].union(test), scenes[4:]),
    }
    if size not in sizes:
        raise UserError(f"Unknown size of the clip set: {size!r}. Give one of {[*sizes, 'folds']}.")
    people, scenes = sizes[size]
    rows = []
    for person in people:
        split = splits[person]
        ranked = _sources(person, splits)
        for scene in scenes:
            rows += _plan_scene(person, ranked, scene, split, split == "test", seed)
    return pd.DataFrame(rows)


def _plan_folds(seed):
    folds = portraits.deal_people(seed=seed)
    splits = split_of_fold(folds, 0)
    rows = []
    for person, fold in folds.items():
        ranked = _sources(person, folds)
        for k, scene in enumerate(list(SCENES)[:4]):
            planned = _plan_scene(
                person, ranked, scene, splits[person], k == 0, seed, _FOLDS_DEGRADED_SHARE
            )
            rows += [{**row, "fold": fold} for row in planned]
    return pd.DataFrame(rows)


def _sources(person, groups):
    """Return the four people who suit a person best, of those in the same group."""
    candidates = groups.index[groups == groups[person]]
    return portraits.rank_sources(person, candidates).index[:4]


def _plan_scene(person, sources, scene, split, tested, seed, degraded_share=_DEGRADED_SHARE):
    k = list(SCENES).index(scene)
    rng = np.random.default_rng([seed, 2, int(person), k])
    camera = Scene(person, scene, N_FRAMES, seed).camera
    common = {
        "target": person,
        "scene": scene,
        "split": split,
        "resolution": round(camera.resolution, 3),
        "blur": round(camera.blur, 3),
    }
    real = {"video": f"{person}__{scene}", "label": 0, "kind": "real", "region": "none"}
    rows = [{**real, **common}]
    if tested and k == 0:
        draws = [(sources[0], region) for region in ("whole", *REGIONS)]
    elif tested and k < 4:
        draws = [(source, "whole") for source in rng.permutation(sources[:3])[:2]]
    else:
        draws = [(source, "whole") for source in rng.permutation(sources)[:2]]
        draws.append((rng.choice(sources), rng.choice(REGIONS)))
    for source, region in draws:
        recipe = _draw_recipe(rng, str(region), degraded_share)
        name = "".join(rng.choice(list("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"), 8))
        video = f"{person}_{source}__{scene}__{name}"
        kind = "whole" if region == "whole" else "regional"
        fake = {"video": video, "label": 1, "source": str(source), "kind": kind}
        rows.append({**fake, **common, **vars(recipe)})
    return rows


def _draw_recipe(rng, region, degraded_share=_DEGRADED_SHARE):
    """Draw how a swap of a region is blended.

    The share of those that are degraded like the output of a low-resolution decoder is the main
    knob of difficulty.
    """
    degraded = rng.uniform(28, 64) if rng.uniform() < degraded_share else 0.0
    return Recipe(
        region=region,
        hull=str(rng.choice(HULLS)),
        degraded_px=round(degraded, 1),
        feather_px=round(rng.uniform(1.2, 6.0), 2),
        colour=round(rng.uniform(0.4, 1.0), 2),
        opacity=round(rng.uniform(0.9, 1.0), 3),
        shape=round(rng.uniform(0.0, 0.4), 2),
    )


def estimate(plan, workers):
    """Say how long a set takes and how much disk it needs, from measured figures."""
    minutes = len(plan) * _SECONDS_PER_CLIP / workers / 60
    return (
        f"{len(plan):,} clips of {N_FRAMES} frames: about {max(minutes, 0.1):.1f} minutes in "
        f"{workers} processes, {len(plan) * _MEGABYTES_PER_CLIP:,.0f} MB of disk"
    )


def make_clips(
    out: str | Path,
    size: str = "small",
    seed: int = 0,
    workers: int | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Make a set of clips in DeepFakeDetection's layout, with a table beside them.

    A clip appears under its name only when it is whole; started again after it was stopped, the
    run makes what is missing. The same seed gives the same files on the same machine.

    Parameters
    ----------
    out : str or path
        Folder of the set. Holds ``clips.csv``, the table of `plan_clips`, ``settings.json``, its
        size and seed, and the videos.
    size : str
        As in `plan_clips`.
    seed : int
    workers : int, optional
        Processes; by default one per core.
    progress : bool
        Print the estimate and show a bar.

    Returns
    -------
    pandas.DataFrame
        The table.

    Raises
    ------
    UserError
        If the folder holds another set already.
    """
    out, plan = Path(out), plan_clips(size, seed)
    table = plan.to_csv(index=False, lineterminator="\n")
    settings = {"size": size, "seed": seed, "plan": digest(table)}
    # Two chapters that run at the same time share the cache: the second waits for the first.
    with RunFolder(out, settings).alone(wait=True):
        write_text(out / "clips.csv", table)
        _make_missing(plan, out, seed, workers or cpu_count(), progress)
    return plan


def _make_missing(plan, out, seed, workers, progress):
    for folder in (_REAL_VIDEOS, _FAKE_VIDEOS, _MASK_VIDEOS):
        (out / folder).mkdir(parents=True, exist_ok=True)
    groups = {g.video.iloc[0]: g for _, g in plan.groupby(["target", "scene"]) if _missing(g, out)}
    bar = progress_bar(show=progress, total=len(plan), unit="clip")
    jobs = [{"video": video, "clips": group} for video, group in groups.items()]
    made = run_tasks(_make_scene, jobs, {"out": out, "seed": seed}, workers)
    with bar, closing(made):
        if groups and not bar.disable:
            bar.write(estimate(pd.concat(groups.values()), workers))
        bar.update(len(plan) - sum(map(len, groups.values())))
        for video, _ in made:
            bar.update(len(groups[video]))


def _make_scene(job, settings):
    cv2.setNumThreads(1)  # as many processes as cores are parallel enough
    make_scene(job["clips"], **settings)


def _clip_paths(row, out):
    """Return where a clip of the plan (a row) lies, and its mask, None for a real clip."""
    name = f"{row['video']}.mp4"
    if row["label"] == 0:
        return Path(out) / _REAL_VIDEOS / name, None
    return Path(out) / _FAKE_VIDEOS / name, Path(out) / _MASK_VIDEOS / name


def _missing(group, out):
    paths = [path for _, row in group.iterrows() for path in _clip_paths(row, out)]
    return any(path is not None and not path.exists() for path in paths)


def make_scene(group, out, seed):
    """Make the clips of a scene (rows of `plan_clips`), frame by frame side by side."""
    first = group.iloc[0]
    scene = Scene(first.target, first.scene, N_FRAMES, seed)
    takes = []
    with ExitStack() as cleanup:
        for _, row in group.iterrows():
            video, mask = _clip_paths(row, out)
            images, alphas = scene.portrait.images, None
            if row["label"] == 1:
                recipe = Recipe(**row[_RECIPE_COLUMNS])
                images, alphas = swap(scene.portrait, portraits.load_portrait(row.source), recipe)
            files = [(video, scene.camera.crf, mp4_box(SWAP, LABELLED[row["label"]]))]
            if mask is not None:
                files.append((mask, _MASK_CRF, mp4_box(MASK)))
            writers = [
                cleanup.enter_context(VideoWriter(path, crf, _SIZE, mark=mark))
                for path, crf, mark in files
            ]
            takes.append((images, alphas, writers))
        for i in range(N_FRAMES):
            for images, alphas, writers in takes:
                frame, mask = scene.frame(i, images, alphas)
                writers[0].write(frame)
                if mask is not None:
                    writers[1].write(np.repeat(255 * mask[..., None].astype(np.uint8), 3, 2))


def embedded_truth(path):
    """Tell what is known of a file if it is one of the embedded clips.

    A table ``clips.csv`` may lie beside any videos, and a name may be anybody's. So the first frame
    is rendered again and compared: only what shows a portrait in its scene is one of the clips.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    dict
        ``label`` (1 fake, 0 real) and ``original`` (the path of a fake's original, which lies
        under it pixel by pixel, or None); empty for any other file.
    """
    path = Path(path).absolute()
    root = next((folder for folder in path.parents if (folder / "clips.csv").is_file()), None)
    try:
        catalogue = read_catalogue(root).set_index("path") if root else pd.DataFrame()
    except UserError:
        return {}
    if str(path) not in catalogue.index:
        return {}
    row = catalogue.loc[str(path)]
    if not _shows(path, row.target, row.scene, _seed_of(root)):
        return {}
    original = catalogue.index[catalogue.video == row.original]
    return {"label": int(row.label), "original": Path(original[0]) if len(original) else None}


def _seed_of(root):
    # Whatever lies beside other people's videos; 0 is the seed of all that the book makes.
    with suppress(OSError, KeyError, TypeError, ValueError):
        settings = dict(json.loads((root / "settings.json").read_text(encoding="utf-8")))
        return int(settings["seed"])
    return 0


def _shows(path, person, scene, seed):
    """Say whether a video begins with a scene of a portrait; a swap changes less than the scene."""
    if scene not in SCENES:
        return False
    try:
        rendered = Scene(person, scene, N_FRAMES, seed)
        shown = [frame.image for frame in open_media(path).read([0])]
    except UserError:  # no such portrait, or no such file
        return False
    expected, _ = rendered.frame(0, rendered.portrait.images)
    return (
        len(shown) == 1
        and shown[0].shape == expected.shape
        and np.abs(shown[0].astype(int) - expected).mean() < _ALIKE
    )


def embedded_clips(size="small", seed=0):
    """Make a set of clips in the cache, or find it there.

    The cache is the user's, as the operating system has it (``~/.cache/xaifake`` on Linux), or what
    the environment variable ``XAIFAKE_CACHE`` names.

    Parameters
    ----------
    size : str
        As in `plan_clips`.
    seed : int

    Returns
    -------
    pathlib.Path
        Folder of the set.
    """
    cache = Path(os.environ.get("XAIFAKE_CACHE") or user_cache_path("xaifake", False))
    # A part of the name for the code that makes the clips: no cache outlives a change of it.
    code = [Path(__file__).with_name(f"{name}.py").read_bytes() for name in _GENERATOR]
    folder = cache / f"clips-{size}-{seed}-{digest(code, H264)[:10]}"
    make_clips(folder, size, seed)
    return folder
