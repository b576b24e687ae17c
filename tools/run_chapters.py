"""Run the chapters with papermill and leave the executed copies in a folder.

    python tools/run_chapters.py --profile demo --out _build/executed

A profile is a file `notebooks/profiles/<profile>.yml` with a section for every chapter: its
parameters, by name. What it does not name keeps the value that the chapter itself gives. The
notebooks under `notebooks/` are read and never written.
"""

import argparse
import sys
import time
from pathlib import Path

import papermill
import yaml
from papermill.exceptions import PapermillExecutionError
from tqdm.auto import tqdm  # noqa: F401  imported before quiet_kernels(), so that the bars show

import chapters

PROFILES = ("smoke", "demo", "paper")


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


def run_chapter(path, values, out, progress=True):
    """Run one chapter in its own folder and write a clean executed copy.

    Parameters
    ----------
    path : Path
        The chapter.
    values : dict
        Parameters, all of them known to the chapter.
    out : Path
        Folder for the copy, which keeps the chapter's file name.
    progress : bool
        Whether to show a bar over the cells.

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
    papermill.execute_notebook(
        str(path),
        str(copy),
        parameters=changed_parameters(chapters.read(path), values),
        kernel_name=chapters.KERNELSPEC["name"],
        extra_arguments=chapters.QUIET_KERNEL,
        cwd=str(path.parent),
        progress_bar={"desc": path.stem, "unit": "cell"} if progress else False,
    )
    notebook = chapters.read(copy)
    chapters.reduce_metadata(notebook)
    chapters.write(notebook, copy)
    return copy


def main(arguments=None):
    """Run every chapter; return 0, or 1 as soon as one fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", choices=PROFILES, default="demo")
    parser.add_argument("--out", type=Path, default=chapters.ROOT / "_build" / "executed")
    options = parser.parse_args(arguments)
    try:
        profile = read_profile(options.profile)
    except (ValueError, OSError) as error:
        print(f"The chapters cannot be run: {error}", file=sys.stderr)
        return 1
    chapters.quiet_kernels()
    begin = time.monotonic()
    for path in chapters.chapter_paths():
        try:
            run_chapter(path, profile[path.stem], options.out)
        except PapermillExecutionError as error:
            print(
                f"{path.stem}: cell {error.exec_count} failed with {error.ename}: {error.evalue}\n"
                f"The copy that shows it is {options.out / path.name}.",
                file=sys.stderr,
            )
            return 1
    minutes = (time.monotonic() - begin) / 60
    print(f"{len(profile)} chapters ran with profile {options.profile} in {minutes:.1f} minutes.")
    return 0


def _as_yaml(value):
    """A value as a YAML file would give it: tuples are lists there."""
    return list(value) if isinstance(value, tuple) else value


if __name__ == "__main__":
    sys.exit(main())
