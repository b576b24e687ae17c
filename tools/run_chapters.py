"""Run the chapters with papermill, two at a time, and leave the executed copies in a folder.

    python tools/run_chapters.py --profile demo --out _build/executed [notebooks/06_lrp.ipynb ...]

All chapters if none is named. A profile is a file `notebooks/profiles/<profile>.yml` with a section
for every chapter: its parameters, by name. What it does not name keeps the value that the chapter
itself gives. The notebooks under `notebooks/` are read and never written.
"""

import argparse
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import papermill
import yaml
from papermill.exceptions import PapermillExecutionError
from tqdm.auto import tqdm

import chapters

PROFILES = ("smoke", "demo", "paper")
JOBS = 2
# Those that take longest come first, so that the processes end at about the same time.
LONGEST = ("03_training", "10_sanity", "12_explain_a_video", "06_lrp", "05_lime")


def read_profile(name, notebooks=chapters.NOTEBOOKS):
    """Read a profile and hold it against the chapters.

    Papermill accepts a misspelt parameter without a word, so the names are compared here.

    Returns
    -------
    dict of dict
        Parameters by chapter, for every chapter of the folder.

    Raises
    ------
    ValueError
        If a chapter has no section, a section no chapter, or a parameter no place.
    """
    path = Path(notebooks) / "profiles" / f"{name}.yml"
    profile = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    found = {chapter.stem: chapter for chapter in chapters.chapter_paths(notebooks)}
    problems = [f"no section for chapter {stem}" for stem in found.keys() - profile.keys()]
    problems += [f"section {stem}, but no such chapter" for stem in profile.keys() - found.keys()]
    for stem in found.keys() & profile.keys():
        profile[stem] = profile[stem] or {}
        known = chapters.parameters(chapters.read(found[stem]))
        for parameter in profile[stem].keys() - known.keys():
            problems.append(f"{stem} has no parameter {parameter!r}; it has {', '.join(known)}")
    if problems:
        raise ValueError(f"{path.name}: " + "; ".join(sorted(problems)))
    return profile


def changed_parameters(notebook, values):
    """Those values that differ from the chapter's own."""
    own = chapters.parameters(notebook)
    return {name: value for name, value in values.items() if value != _as_yaml(own[name])}


def run_chapter(path, values, out, bar=None):
    """Run one chapter in its own folder and write a clean executed copy.

    Parameters
    ----------
    path : Path
        The chapter.
    values : dict
        Parameters, all of them known to the chapter.
    out : Path
        Folder for the copy, which keeps the chapter's file name, and for `<chapter>.used`, the
        files of the library that it used, one path a line.
    bar : int, optional
        On which line below the cursor to show a bar over the cells; none if not given.

    Returns
    -------
    Path
        The executed copy, without timings, paths and machine-dependent metadata.

    Raises
    ------
    papermill.exceptions.PapermillExecutionError
        If a cell fails; the copy is there up to that cell.
    """
    path, copy = Path(path), Path(out) / Path(path).name
    copy.parent.mkdir(parents=True, exist_ok=True)
    os.environ["CHAPTER_USES"] = str(copy.with_suffix(".used").absolute())
    try:
        papermill.execute_notebook(
            str(path),
            str(copy),
            parameters=changed_parameters(chapters.read(path), values),
            kernel_name=chapters.KERNELSPEC["name"],
            extra_arguments=chapters.QUIET_KERNEL,
            cwd=str(path.parent),
            progress_bar=False
            if bar is None
            else {"desc": path.stem, "unit": "cell", "position": bar, "leave": False},
        )
    finally:
        del os.environ["CHAPTER_USES"]
    notebook = chapters.read(copy)
    chapters.reduce_metadata(notebook)
    chapters.write(notebook, copy)
    return copy


def run_all(paths, profile, out, jobs=JOBS):
    """Run chapters side by side, those that take longest first.

    Parameters
    ----------
    paths : sequence of Path
        The chapters.
    profile : dict of dict
        Parameters by chapter.
    out : Path
        Folder for the copies.
    jobs : int
        How many chapters run at a time.

    Yields
    ------
    (Path, float, str or None)
        Each chapter as it ends, the seconds that it took, and why it failed if it did.
    """
    order = sorted(paths, key=lambda path: (*LONGEST, path.stem).index(path.stem))
    context = multiprocessing.get_context("spawn")
    lines = context.SimpleQueue()
    for line in range(jobs):
        lines.put(line)
    lock, threads = context.RLock(), max(1, (os.cpu_count() or 1) // min(jobs, len(order) or 1))
    tqdm.set_lock(lock)  # no two processes draw a bar at once
    with ProcessPoolExecutor(jobs, context, _begin, (lines, lock, threads)) as pool:
        waiting = {pool.submit(_run, p, profile[p.stem], Path(out)): p for p in order}
        try:
            for done in as_completed(waiting):
                yield waiting[done], *done.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _begin(lines, lock, threads):
    """Prepare a process that runs chapters."""
    chapters.quiet_kernels()
    # More threads than cores cost a seventh of the time.
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(threads))
    tqdm.set_lock(lock)
    _begin.line = lines.get() if sys.stderr.isatty() else None


def _run(path, values, out):
    begin, failure = time.monotonic(), None
    try:
        run_chapter(path, values, out, _begin.line)
    except PapermillExecutionError as error:
        failure = (
            f"{path.stem}: cell {error.exec_count} failed with {error.ename}: {error.evalue}\n"
            f"The copy that shows it is {out / path.name}."
        )
    return time.monotonic() - begin, failure


def main(arguments=None):
    """Run chapters; return 0, or 1 if one fails. The others run all the same."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", choices=PROFILES, default="demo")
    parser.add_argument("--out", type=Path, default=chapters.ROOT / "_build" / "executed")
    parser.add_argument("--jobs", type=int, default=JOBS, help="how many run at a time")
    parser.add_argument("chapters", nargs="*", type=Path, help="all if none is given")
    options = parser.parse_args(arguments)
    paths = [path.absolute() for path in options.chapters] or chapters.chapter_paths()
    try:
        profile = read_profile(options.profile)
        if unknown := [str(path) for path in paths if path not in chapters.chapter_paths()]:
            raise ValueError(f"no such chapter: {', '.join(unknown)}")
    except (ValueError, OSError) as error:
        print(f"The chapters cannot be run: {error}", file=sys.stderr)
        return 1
    begin, failures = time.monotonic(), 0
    for path, seconds, failure in run_all(paths, profile, options.out, max(1, options.jobs)):
        failures += failure is not None
        tqdm.write(failure or f"{path.stem} ran in {seconds:.0f} s", file=sys.stderr)
    minutes = (time.monotonic() - begin) / 60
    ran = f"{len(paths) - failures} of {len(paths)} chapters ran"
    print(f"{ran} with profile {options.profile} in {minutes:.1f} minutes.")
    return 1 if failures else 0


def _as_yaml(value):
    """A value as a YAML file would give it: tuples are lists there."""
    return list(value) if isinstance(value, tuple) else value


if __name__ == "__main__":
    sys.exit(main())
