"""Run the chapters with papermill, two at a time, and leave the executed copies in a folder.

    python tools/run_chapters.py --profile demo --out _build/executed [notebooks/07_lrp.ipynb ...]
    python tools/run_chapters.py --store [notebooks/07_lrp.ipynb ...]

All chapters if none is named. A profile is a file `notebooks/profiles/<profile>.yml` with a section
for every chapter: its parameters, by name. What it does not name keeps the value that the chapter
itself gives. Chapters are read and never written, but with `--store`: they then run one by one with
their own values, and their outputs are stored in them, ready to be committed. Nothing that differs
between machines or runs is kept: no timing, no path, no version.
"""

import argparse
import multiprocessing
import os
import shutil
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import papermill
from papermill.exceptions import PapermillExecutionError
from tqdm.auto import tqdm

import chapters

PROFILES = ("smoke", "demo", "paper")
JOBS = 2
# Those that take longest come first, so that the processes end at about the same time.
LONGEST = ("03_training", "12_sanity", "08_auditing", "15_explain_a_video", "06_lime")


def read_profile(name, notebooks=chapters.NOTEBOOKS):
    """Read a profile, parameters by chapter, and hold it against the chapters.

    Papermill accepts a misspelt parameter without a word, so the names are compared here: a
    ValueError if a chapter has no section, a section no chapter, or a parameter no place.
    """
    path = Path(notebooks) / "profiles" / f"{name}.yml"
    profile = chapters.read_profile(path)
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
    """Return those values that differ from the chapter's own; YAML knows no tuples, only lists."""
    if not values:
        return {}
    own = chapters.parameters(notebook)
    own = {name: list(value) if isinstance(value, tuple) else value for name, value in own.items()}
    return {name: value for name, value in values.items() if value != own[name]}


def run_chapter(path, values, out, bar=None):
    """Run one chapter in its own folder; return the path of a clean executed copy.

    The copy keeps the chapter's file name and has no timings, paths and machine-dependent
    metadata. Beside it is `<chapter>.used`, the files of the library that it used, one path per
    line. If a cell fails, papermill's error is raised, and the copy is there up to that cell.

    Parameters
    ----------
    path, out : Path
        The chapter, and the folder for the copy.
    values : dict
        Parameters, all of them known to the chapter.
    bar : int, optional
        On which line below the cursor to show a bar over the cells; none if not given.
    """
    path, copy = Path(path), Path(out) / Path(path).name
    copy.parent.mkdir(parents=True, exist_ok=True)
    shown = {"desc": path.stem, "unit": "cell", "position": bar, "leave": False}
    os.environ["CHAPTER_USES"] = str(copy.with_suffix(".used").absolute())
    try:
        papermill.execute_notebook(
            str(path),
            str(copy),
            parameters=changed_parameters(chapters.read(path), values),
            kernel_name=chapters.KERNELSPEC["name"],
            extra_arguments=chapters.QUIET_KERNEL,
            cwd=str(path.parent),
            progress_bar=bar is not None and shown,
        )
    finally:
        del os.environ["CHAPTER_USES"]
    notebook = chapters.read(copy)
    chapters.reduce_metadata(notebook)
    chapters.fit_pictures(notebook)
    chapters.mark_pictures(notebook)
    chapters.write(notebook, copy)
    return copy


def run_all(paths, profile, out, jobs=JOBS):
    """Run chapters side by side, `jobs` at a time, those that take longest first.

    Yields each chapter's path as it ends, the seconds that it took, and why it failed, or None.
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


def store(paths, out):
    """Run chapters with their own values and store the outputs in them; yield as `run_all` does.

    One that fails is left as it was.
    """
    for path, seconds, failure in run_all(paths, {path.stem: {} for path in paths}, out, jobs=1):
        if not failure:
            shutil.copy(Path(out) / path.name, path)
        yield path, seconds, failure


def main(arguments=None):
    """Run chapters; return 0, or 1 if one fails. The others run all the same."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", choices=PROFILES, default="demo")
    parser.add_argument("--out", type=Path, default=chapters.ROOT / "_build" / "executed")
    parser.add_argument("--jobs", type=int, default=JOBS, help="how many run at a time")
    parser.add_argument("--store", action="store_true", help="store the outputs in the chapters")
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
    run = run_all(paths, profile, options.out, max(1, options.jobs))
    for path, seconds, failure in store(paths, options.out) if options.store else run:
        failures += failure is not None
        tqdm.write(failure or f"{path.stem} ran in {seconds:.0f} s", file=sys.stderr)
    minutes, how = (time.monotonic() - begin) / 60, f"with profile {options.profile}"
    ran = f"{len(paths) - failures} of {len(paths)} chapters ran"
    print(f"{ran} {'as they are' if options.store else how} in {minutes:.1f} minutes.")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
