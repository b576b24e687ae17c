"""Packages whose public names are loaded when they are first asked for.

Whoever wants one function of a room waits for what this function needs, and for nothing else.
"""

import ast
import functools
import importlib
import sys
import warnings
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from xaifake.errors import told_what_to_install

Function = TypeVar("Function", bound=Callable)


class _Package(ModuleType):
    """A package in which a submodule cannot hide the public name that it is called like.

    Python sets each imported submodule as an attribute of its package. Without this,
    `xaifake.judge.stability` would be the function or the module of that name, by the order of
    imports.
    """

    def __setattr__(self, name, value):
        if not (isinstance(value, ModuleType) and name in self.__all__):
            super().__setattr__(name, value)


def warn_of_former_name(former, now, stacklevel=3):
    """Warn that a public name is another one now; the former works for one release."""
    told = f"{former} is {now} now, and the old name will go."
    warnings.warn(told, FutureWarning, stacklevel=stacklevel)


def renamed_arguments(**names: str) -> Callable[[Function], Function]:
    """Decorate a function whose keyword arguments had other names: ``former="now"``."""

    def decorate(function):
        @functools.wraps(function)
        def call(*arguments, **options):
            for former, now in names.items():
                if former in options:
                    of = function.__name__
                    warn_of_former_name(f"{of}({former}=)", f"{of}({now}=)", stacklevel=3)
                    options[now] = options.pop(former)
            return function(*arguments, **options)

        return call

    return decorate


def attach(package, renamed=None):
    """Make the public names of a package load when they are first used.

    They are those that the stub ``__init__.pyi`` beside it imports from the submodules, so that
    tools that check types see what Python will find. To be called in the package's
    ``__init__.py``, whose ``__getattr__``, ``__dir__`` and ``__all__`` it returns.
    (`lazy_loader.attach_stub` does the same, but before its version 0.6 not for functions that are
    called like their module, and scikit-image is content with 0.4.)

    Parameters
    ----------
    package : str
        The package's ``__name__``.
    renamed : dict of str to str, optional
        Names of an earlier version, with the public name, or the attribute of one, that each now
        has. They work for one release and warn.

    Returns
    -------
    getattr, dir : callable
    all : list of str
    """
    stub = Path(sys.modules[package].__file__).with_suffix(".pyi").read_text(encoding="utf-8")
    lines = [line for line in ast.parse(stub).body if isinstance(line, ast.ImportFrom)]
    home = {name.name: line.module for line in lines for name in line.names}
    module = sys.modules[package]
    module.__class__ = _Package

    def __getattr__(name):
        if name in (renamed or {}):
            now = renamed[name]
            warn_of_former_name(f"{package}.{name}", f"{package}.{now}")
            return attrgetter(now)(module)
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        with told_what_to_install(f"{package}.{name}"):
            return getattr(importlib.import_module(f"{package}.{home[name]}"), name)

    def __dir__():
        return sorted({*vars(module), *home})

    return __getattr__, __dir__, sorted(home)
