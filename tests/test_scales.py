"""Whoever gives no scale gets the same one everywhere."""

import importlib
import inspect
import pkgutil

import typer

import xaifake
from xaifake.cli import app
from xaifake.scales import SCALE, SCALES


def functions():
    """Yield (name, function) for all public functions, methods and classes of the library."""
    for module in pkgutil.walk_packages(xaifake.__path__, "xaifake."):
        if module.name in ("xaifake.explainers.innvestigate_worker", "xaifake.cli"):
            continue  # a program of another environment; the commands, see below
        for name, thing in vars(importlib.import_module(module.name)).items():
            if callable(thing) and getattr(thing, "__module__", None) == module.name:
                yield f"{module.name}.{name}", thing
                members = inspect.getmembers(thing, callable) if inspect.isclass(thing) else ()
                yield from ((f"{module.name}.{name}.{m}", f) for m, f in members)


def defaults(parameter):
    """Return the defaults of a parameter of that name, by function."""
    found = {}
    for name, function in functions():
        try:
            given = inspect.signature(function).parameters.get(parameter)
        except ValueError:  # written in C
            continue
        # Keras' batch norm has a scale too, which is no number.
        if given is not None and given.default not in (given.empty, None, True):
            found[name] = given.default
    return found


def test_every_function_has_the_same_default():
    scale, scales = defaults("scale"), defaults("scales")
    assert {"load_faces", "Detector", "detector_card", "train", "rule_grid"} <= {
        name.rpartition(".")[2] for name in scale
    }
    assert set(scale.values()) == {SCALE}, scale
    assert set(scales.values()) <= {SCALES}, scales
    assert SCALE in SCALES


def test_every_command_has_the_same_default():
    found = {
        name: option.default
        for name, command in typer.main.get_command(app).commands.items()
        for option in command.params
        if option.name == "scale"
    }
    one = {name: SCALE for name in ("train", "evaluate", "maps", "explain")}
    assert {n: d if n in one else tuple(d) for n, d in found.items()} == one | {
        "extract": SCALES,
        "judge": SCALES,
    }
