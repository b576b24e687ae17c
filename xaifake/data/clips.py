"""The embedded clips, in DeepFakeDetection's own folders and file names (chapter 01_dataset).

Short videos made from the consented portraits: real ones, and face swaps of which each has a
real twin that shares every other draw. They stand in for a data set that is given out on request
only; scores on them say nothing about DeepFakeDetection or about the world.
"""

import hashlib
import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from filelock import FileLock

from xaifake.data import portraits
from xaifake.data.dfd import read_catalogue
from xaifake.data.folders import remove_abandoned, write_text
from xaifake.data.footage import open_footage
from xaifake.data.rendering import SCENES, Scene, VideoWriter
from xaifake.data.swaps import HULLS, REGIONS, Recipe, swap
from xaifake.errors import UserError
from xaifake.progress import progress_bar

N_FRAMES = 32
DEGRADED_SHARE = 0.9
REAL_VIDEOS = Path("original_sequences/actors/c23/videos")
FAKE_VIDEOS = Path("manipulated_sequences/DeepFakeDetection/c23/videos")
MASK_VIDEOS = Path("manipulated_sequences/DeepFakeDetection/masks/videos")
RECIPE_COLUMNS = list(Recipe.__dataclass_fields__)
MASK_CRF = 10
SET = "set.json"
ALIKE = 10  # grey levels: own first frames are 1.8 to 3.8 from the rendered one, others 26 to 66
GENERATOR = ("portraits", "swaps", "rendering", "clips")
# Measured on an x86 server: seconds of one core, and megabytes with the mask, for each clip.
SECONDS_A_CLIP = 0.6
MEGABYTES_A_CLIP = 0.05


def plan_clips(size="small", seed=0):
    """List the clips of a set without making them.

    Every scene of a person gives one real clip and several fakes. The first scene of a test
    person has a whole-face fake and all five regional ones, all from the same source; their other
    scenes have whole-face fakes from two sources. The scenes of all others have two whole-face
    fakes and a regional one.

    Parameters
    ----------
    size : {"full", "small", "tiny", "leakage"}
        ``"full"``: four scenes of everybody, what the detector is trained on; ``"small"``: two
        scenes of the test people, what the chapters show; ``"tiny"``: one scene of four test
        people, to try things; ``"leakage"``: a fifth scene, which no detector was trained on, of
        16 training people and of all 16 test people.
    seed : int

    Returns
    -------
    pandas.DataFrame
        One row a clip: ``video`` (the file's stem), ``label`` (1 fake), ``target``, ``source``,
        ``scene``, ``split``, ``kind`` (``"real"``, ``"whole"``, ``"regional"``) and the fields of
        `xaifake.data.swaps.Recipe`; also ``resolution`` and ``blur`` of the scene's camera.

    Raises
    ------
    UserError
        If there is no such size.
    """
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
        raise UserError(f"Unknown size of the clip set: {size!r}. Give one of {list(sizes)}.")
    people, scenes = sizes[size]
    rows = []
    for person in people:
        candidates = splits.index[splits == splits[person]]
        ranked = portraits.rank_sources(person, candidates).index[:4]
        for scene in scenes:
            rows += _plan_scene(person, ranked, scene, splits[person], seed)
    return pd.DataFrame(rows)


def _plan_scene(person, sources, scene, split, seed):
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
    if split == "test" and k == 0:
        draws = [(sources[0], region) for region in ("whole", *REGIONS)]
    elif split == "test" and k < 4:
        draws = [(source, "whole") for source in rng.permutation(sources[:3])[:2]]
    else:
        draws = [(source, "whole") for source in rng.permutation(sources)[:2]]
        draws.append((rng.choice(sources), rng.choice(REGIONS)))
    for source, region in draws:
        recipe = draw_recipe(rng, str(region))
        name = "".join(rng.choice(list("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"), 8))
        video = f"{person}_{source}__{scene}__{name}"
        kind = "whole" if region == "whole" else "regional"
        fake = {"video": video, "label": 1, "source": str(source), "kind": kind}
        rows.append({**fake, **common, **vars(recipe)})
    return rows


def draw_recipe(rng, region):
    """Draw how a swap of a region is blended.

    Nine of ten are degraded like the output of a low-resolution decoder: the share
    `DEGRADED_SHARE` is the main knob of difficulty.
    """
    degraded = rng.uniform(28, 64) if rng.uniform() < DEGRADED_SHARE else 0.0
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
    """Say how long a set takes and how much disk it needs, from measured figures.

    Returns
    -------
    str
    """
    minutes = len(plan) * SECONDS_A_CLIP / workers / 60
    return (
        f"{len(plan):,} clips of {N_FRAMES} frames: about {max(minutes, 0.1):.1f} minutes in "
        f"{workers} processes, {len(plan) * MEGABYTES_A_CLIP:,.0f} MB of disk"
    )


def make_clips(out, size="small", seed=0, workers=None, progress=True):
    """Make a set of clips in DeepFakeDetection's layout, with a table beside them.

    A clip appears under its name only when it is whole; started again after it was stopped, the
    run makes what is missing. The same seed gives the same files on the same machine.

    Parameters
    ----------
    out : str or path
        Folder of the set. Holds ``clips.csv``, the table of `plan_clips`, ``set.json``, its size
        and seed, and the videos.
    size : str
        As in `plan_clips`.
    seed : int
    workers : int, optional
        Processes; by default one a core.
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
    out.mkdir(parents=True, exist_ok=True)
    # Two chapters that run at the same time share the cache: the second waits for the first.
    with FileLock(out / "clips.lock"):
        remove_abandoned(out)
        _write_table(plan, out, size, seed)
        _make_missing(plan, out, seed, workers or os.cpu_count() or 1, progress)
    return plan


def _make_missing(plan, out, seed, workers, progress):
    for folder in (REAL_VIDEOS, FAKE_VIDEOS, MASK_VIDEOS):
        (out / folder).mkdir(parents=True, exist_ok=True)
    groups = [g for _, g in plan.groupby(["target", "scene"]) if _missing(g, out)]
    bar = progress_bar(show=progress, total=len(plan), unit="clip")
    with _pool(workers) as pool, bar:
        if groups and not bar.disable:
            bar.write(estimate(pd.concat(groups), workers))
        bar.update(len(plan) - sum(len(g) for g in groups))
        tasks = {pool.submit(make_scene, group, out, seed): len(group) for group in groups}
        for task in as_completed(tasks):
            task.result()
            bar.update(tasks[task])


@contextmanager
def _pool(workers):
    # "spawn", because a process that has loaded OpenCV or TensorFlow must not be forked.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _one_thread)
    try:
        yield pool
    except BrokenProcessPool:
        raise UserError(
            "A worker process ended unexpectedly, most often for want of memory: call again with "
            "fewer workers, what is done is kept. A script must call make_clips below "
            "'if __name__ == \"__main__\":'."
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _one_thread():
    cv2.setNumThreads(1)


def _write_table(plan, out, size, seed):
    table = plan.to_csv(index=False, lineterminator="\n")
    path = out / "clips.csv"
    if path.exists() and path.read_text() != table:
        raise UserError(
            f"{out} already holds another set of clips than size={size!r}, seed={seed}. "
            "Give an empty folder, or delete this one."
        )
    write_text(path, table)
    write_text(out / SET, json.dumps({"size": size, "seed": seed}) + "\n")


def clip_paths(row, out):
    """Where a clip of the table lies, and its mask.

    Parameters
    ----------
    row : pandas.Series
        Of `plan_clips`.
    out : str or path

    Returns
    -------
    video, mask : pathlib.Path
        The mask is None for a real clip.
    """
    name = f"{row['video']}.mp4"
    if row["label"] == 0:
        return Path(out) / REAL_VIDEOS / name, None
    return Path(out) / FAKE_VIDEOS / name, Path(out) / MASK_VIDEOS / name


def _missing(group, out):
    paths = [path for _, row in group.iterrows() for path in clip_paths(row, out)]
    return any(path is not None and not path.exists() for path in paths)


def make_scene(group, out, seed):
    """Make the real clip of a scene and all its fakes, frame by frame side by side.

    Parameters
    ----------
    group : pandas.DataFrame
        The rows of `plan_clips` that share target and scene.
    out : str or path
    seed : int
    """
    first = group.iloc[0]
    scene = Scene(first.target, first.scene, N_FRAMES, seed)
    takes = []
    with ExitStack() as cleanup:
        for _, row in group.iterrows():
            video, mask = clip_paths(row, out)
            images, alphas = scene.portrait.images, None
            if row["label"] == 1:
                recipe = Recipe(**row[RECIPE_COLUMNS])
                images, alphas = swap(scene.portrait, portraits.load_portrait(row.source), recipe)
            writers = [cleanup.enter_context(VideoWriter(video, scene.camera.crf))]
            if mask is not None:
                writers.append(cleanup.enter_context(VideoWriter(mask, MASK_CRF)))
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
        ``label`` (1 fake, 0 real) and ``parent`` (the path of a fake's real parent, which lies
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
    parent = catalogue.index[catalogue.video == row.parent]
    return {"label": int(row.label), "parent": Path(parent[0]) if len(parent) else None}


def _seed_of(root):
    # Sets of older versions do not say; 0 is the seed of all that the book makes.
    path = root / SET
    return json.loads(path.read_text(encoding="utf-8"))["seed"] if path.is_file() else 0


def _shows(path, person, scene, seed):
    """Say whether a video begins with a scene of a portrait; a swap changes less than the scene."""
    if scene not in SCENES:
        return False
    try:
        rendered = Scene(person, scene, N_FRAMES, seed)
        shown = [frame.image for frame in open_footage(path).read([0])]
    except UserError:  # no such portrait, or no such file
        return False
    expected, _ = rendered.frame(0, rendered.portrait.images)
    return (
        len(shown) == 1
        and shown[0].shape == expected.shape
        and np.abs(shown[0].astype(int) - expected).mean() < ALIKE
    )


def embedded_clips(size="small", seed=0):
    """Make a set of clips in the cache, or find it there.

    The cache is ``~/.cache/xaifake``, or what the environment variable ``XAIFAKE_CACHE`` names.

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
    cache = Path(os.environ.get("XAIFAKE_CACHE") or Path.home() / ".cache" / "xaifake")
    folder = cache / f"clips-{size}-{seed}-{_generator_version()}"
    make_clips(folder, size, seed)
    return folder


def _generator_version():
    """Fingerprint of the code that makes the clips, so that no cache outlives a change of it."""
    code = [Path(__file__).with_name(f"{name}.py").read_bytes() for name in GENERATOR]
    return hashlib.sha256(b"".join(code)).hexdigest()[:10]
