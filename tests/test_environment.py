"""The lock, environment.yml and pyproject.toml tell the same story."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from chapters import ROOT
from test_colab import pins

# Which packages bring a module, where that is not to be read off the installed one.
PROVIDERS = {
    "cv2": ["opencv-python", "opencv-python-headless"],
    "dlib": ["dlib-bin"],
    "c2pa": ["c2pa-python"],
}
PYTHONS = ("3.11", "3.12", "3.13")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
LOCKS = {
    name: (ROOT / "requirements" / name).read_text(encoding="utf-8")
    for name in ("requirements.txt", "innvestigate.txt")
}


def declared():
    """All requirements of pyproject.toml: the library's and those of its extras."""
    lines = list(PROJECT["dependencies"])
    for extra in PROJECT["optional-dependencies"].values():
        lines += extra
    return [one for one in map(Requirement, lines) if one.name != "xaifake"]


def locked(text, python):
    """Versions by name that a lock pins for one version of Python on Linux."""
    machine = {
        "python_version": python,
        "python_full_version": f"{python}.9",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "os_name": "posix",
        "platform_machine": "x86_64",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    versions = {}
    for line in re.findall(r"^[A-Za-z0-9].*?(?=\s*\\$)", text, re.MULTILINE):
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate(machine):
            (pin,) = requirement.specifier
            assert pin.operator == "=="
            versions[canonicalize_name(requirement.name)] = pin.version
    return versions


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_satisfies_every_bound(python):
    versions = locked(LOCKS["requirements.txt"], python)
    for requirement in declared():
        version = versions[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement} but {version} is locked"


@pytest.mark.parametrize("python", PYTHONS)
def test_the_python_range_is_the_same_everywhere(python):
    wanted = SpecifierSet(PROJECT["requires-python"])
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    (line,) = [d for d in environment["dependencies"] if str(d).startswith("python")]
    assert SpecifierSet(line.removeprefix("python")) == wanted
    assert wanted.contains(python)
    assert not wanted.contains("3.10") and not wanted.contains("3.14")


def test_conda_installs_the_lock_and_nothing_else():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    *conda, pip = environment["dependencies"]
    assert [re.split(r"[<>=]", name)[0] for name in conda] == ["python", "pip"]
    assert pip == {"pip": ["--requirement requirements/requirements.txt"]}


def test_bounds_are_lower_bounds_but_for_the_book_builder():
    operators = {r.name: {s.operator for s in r.specifier} for r in declared()}
    assert operators.pop("jupyter-book") == {"=="}
    assert all(bound == {">="} for bound in operators.values())
    assert locked(LOCKS["requirements.txt"], "3.11")["jupyter-book"] == "1.0.4.post1"


@pytest.mark.parametrize("name", LOCKS)
def test_the_lock_has_a_hash_for_everything_and_no_address_or_path(name):
    configs = re.split(r"^(?=[A-Za-z0-9])", LOCKS[name], flags=re.MULTILINE)
    configs = [config for config in configs if config.strip()]
    assert configs and all("--hash=sha256:" in config for config in configs)
    assert not re.search(r"://|@|^\s*-(?!-hash)|[/\\]\w", LOCKS[name], re.MULTILINE)


def test_the_library_leaves_colabs_packages_as_they_are():
    extras = PROJECT["optional-dependencies"]
    on_colab = ("data", "lime", "video", "chapters", "innvestigate")
    beside = [*PROJECT["dependencies"], *(line for name in on_colab for line in extras[name])]
    for requirement in map(Requirement, beside):
        if version := pins().get(canonicalize_name(requirement.name)):
            assert requirement.specifier.contains(version), requirement
    own_names = {"dlib-bin", "opencv-python"}
    assert not own_names & {Requirement(line).name for line in beside}


def test_innvestigate_stands_alone():
    plain = {Requirement(line).name for line in PROJECT["dependencies"]}
    assert not plain & {"innvestigate", "tf_keras"}
    assert "tf-keras" in locked(LOCKS["requirements.txt"], "3.11")
    assert locked(LOCKS["innvestigate.txt"], "3.11") == {"innvestigate": "2.1.2"}
    assert "innvestigate" not in locked(LOCKS["requirements.txt"], "3.11")


def test_the_library_imports_only_what_it_declares():
    names = packages_distributions() | PROVIDERS
    known = {canonicalize_name(requirement.name) for requirement in declared()}
    known |= set(locked(LOCKS["innvestigate.txt"], "3.11"))  # the one that stands alone
    for path in (ROOT / "xaifake").rglob("*.py"):
        for module in imported(path) - set(sys.stdlib_module_names) - {"xaifake"}:
            providers = {canonicalize_name(name) for name in names.get(module, [module])}
            assert providers & known, f"{path.name} imports {module}, which is not declared"


def imported(path):
    """Top-level names of the modules that a file imports."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            modules.add(node.module.split(".")[0])
    return modules
