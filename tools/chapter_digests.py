"""Tell which chapters can have changed since a run last agreed with their stored outputs.

    python tools/chapter_digests.py                       print the paths of these chapters
    python tools/chapter_digests.py --drawn               and of one more, drawn by the commit
    python tools/chapter_digests.py --store PATH ...      record these chapters as they are now

A chapter's digest covers what it rests on: the notebook with its outputs, its parameters in the
published profile, the modules of xaifake that it imports directly or through others, the assets
that these read, and the locked packages. The record is `notebooks/.ran.json`.
"""

import argparse
import ast
import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import chapters

RECORD = chapters.NOTEBOOKS / ".ran.json"
PROFILE = "demo"
LOCKS = ("requirements/requirements.txt", "requirements/innvestigate.txt")
# Nothing is handed on from the command line, though its commands have the functions' names.
NOT_HANDED_ON = ("xaifake.cli",)


class Package:
    """The modules of the library under a repository's root, and what each of them names."""

    def __init__(self, root=chapters.ROOT):
        self.files = {}
        for path in sorted((root / "xaifake").rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            self.files[".".join(parts).removesuffix(".__init__")] = path
        self.texts = {name: path.read_text(encoding="utf-8") for name, path in self.files.items()}
        self.trees = {name: ast.parse(text) for name, text in self.texts.items()}
        self.defined = {name: _defined(tree) for name, tree in self.trees.items()}
        self.assets = {folder.name: folder for folder in (root / "xaifake/assets").iterdir()}

    def behind(self, sources):
        """Return the set of the package's files that some Python code, a list of str, rests on.

        Too many rather than too few: names in strings count as imports, since packages load
        their modules by name, and an asset counts whole for a module that names it.
        """
        waiting = {name for source in sources for name in self._named(ast.parse(source))}
        found, files = set(), set()
        while waiting:
            name = waiting.pop()
            found.add(name)
            files |= {self.files[name], *self.files[name].parent.glob(f"{self.files[name].name}i")}
            waiting |= self._behind_module(name) - found
            files |= self._assets_of(name)
        return files

    def _behind_module(self, name):
        package = self.files[name].name == "__init__.py"
        # A package's own strings say where it would find a name; `_homes` follows those asked for.
        siblings_in = None if package else name.rpartition(".")[0]
        named = self._named(self.trees[name], siblings_in, not package)
        parents = name.split(".")
        return named | {".".join(parents[:n]) for n in range(1, len(parents))}

    def _named(self, tree, siblings_in=None, strings=True):
        """Return the modules that a syntax tree names."""
        names = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names |= {node.module}
                names |= {n for a in node.names for n in self._homes(node.module, a.name)}
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                names |= self._homes(node.value.id, node.attr)
            elif strings and isinstance(node, ast.Constant) and isinstance(node.value, str):
                names |= {node.value}
                if siblings_in:
                    names |= {f"{siblings_in}.{node.value.removesuffix('.py')}"}
        return names & self.files.keys()

    def _homes(self, package, name):
        """Return where a name of a package comes from: a module, or those that define it."""
        if f"{package}.{name}" in self.files:
            return {f"{package}.{name}"}
        if package not in self.files or self.files[package].name != "__init__.py":
            return set()
        inside = (m for m in self.files if m.startswith(f"{package}.") and m not in NOT_HANDED_ON)
        return {module for module in inside if name in self.defined[module]}

    def _assets_of(self, name):
        """Return the files of the assets whose folders a module names."""
        words = set(re.findall(r'"(\w+)"', self.texts[name]))
        folders = [self.assets[word] for word in words & self.assets.keys() if "assets" in words]
        return {path for folder in folders for path in folder.rglob("*") if path.is_file()}


def _defined(tree):
    """Return the names that a module defines at its top."""
    targets = [t for node in tree.body if isinstance(node, ast.Assign) for t in node.targets]
    parts = [part for target in targets for part in ast.walk(target)]
    names = {part.id for part in parts if isinstance(part, ast.Name)}
    return names | {n.name for n in tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef))}


def rests_on(path, root=chapters.ROOT, package=None):
    """Return the files that a chapter's outputs depend on, in order, the chapter first.

    The `package` of this root can be given if many chapters are asked about.
    """
    code = [cell.source for cell in chapters.read(path).cells if cell.cell_type == "code"]
    # Lines for IPython, such as the first cell's %pip, are no Python.
    code = [re.sub(r"^(\s*)[%!].*", r"\1pass", source, flags=re.MULTILINE) for source in code]
    found = (package or Package(root)).behind(code)
    return [Path(path), *sorted(found), *(root / name for name in LOCKS)]


def digest(path, root=chapters.ROOT, package=None):
    """Return the digest of all that a chapter rests on, 32 hexadecimal digits."""
    profile = root / "notebooks" / "profiles" / f"{PROFILE}.yml"
    parameters = chapters.read_profile(profile)[Path(path).stem]
    made = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode())
    for file in rests_on(path, root, package):
        made.update(file.relative_to(root).as_posix().encode())
        made.update(hashlib.sha256(file.read_bytes()).digest())
    return made.hexdigest()[:32]


def read_record(path=RECORD):
    """Return the digest of each chapter at the last run that agreed, by its name."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def store(paths, root=chapters.ROOT, record=None):
    """Record that a run of these chapters, as they are now, agreed with their stored outputs."""
    record = record or root / "notebooks" / RECORD.name
    package, known = Package(root), read_record(record)
    known |= {Path(path).stem: digest(Path(path).absolute(), root, package) for path in paths}
    there = {path.stem for path in chapters.chapter_paths(root / "notebooks")}
    kept = {stem: known[stem] for stem in sorted(known) if stem in there}
    record.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def changed(root=chapters.ROOT):
    """Return the chapters whose digest is not the recorded one, in the order of the book."""
    package, notebooks = Package(root), root / "notebooks"
    known = read_record(notebooks / RECORD.name)
    paths = chapters.chapter_paths(notebooks)
    return [path for path in paths if known.get(path.stem) != digest(path, root, package)]


def drawn(commit, root=chapters.ROOT):
    """Return the chapter that a commit's hash draws, so that no record can go stale unseen."""
    paths = chapters.chapter_paths(root / "notebooks")
    return paths[int(commit, 16) % len(paths)]


def main():
    """Print or record chapters."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--drawn", action="store_true", help="print one more chapter")
    parser.add_argument("--store", nargs="+", type=Path, metavar="PATH", help="chapters to record")
    options = parser.parse_args()
    if options.store:
        return store(options.store)
    paths = changed()
    print(f"can have changed: {', '.join(p.stem for p in paths) or 'none'}", file=sys.stderr)
    if options.drawn:
        one = drawn(subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=chapters.ROOT))
        print(f"drawn by the commit: {one.stem}", file=sys.stderr)
        paths = sorted({*paths, one})
    print(*(path.relative_to(chapters.ROOT).as_posix() for path in paths))


if __name__ == "__main__":
    main()
