"""Packages whose public names are loaded when they are first asked for.

Whoever wants one function of a room waits for what this function needs, and for nothing else.
"""

import importlib
import sys
import warnings
from operator import attrgetter
from types import ModuleType

from xaifake.errors import told_what_to_install


class _Package(ModuleType):
    """A package in which a submodule cannot hide the public name that it is called like.

    Python sets each imported submodule as an attribute of its package. Without this,
    `xaifake.judge.stability` would be the function or the module of that name, by the order of
    imports.
    """

    def __setattr__(self, name, value):
        if not (isinstance(value, ModuleType) and name in self.__all__):
            super().__setattr__(name, value)


def attach(package, homes, renamed=None):
    """Make the public names of a package load when they are first used.

    To be called in the package's ``__init__.py``, whose ``__getattr__``, ``__dir__`` and
    ``__all__`` it returns. (`lazy_loader.attach` does the same, but before its version 0.6 not for
    functions that are called like their module, and scikit-image is content with 0.4.)

    Parameters
    ----------
    package : str
        The package's ``__name__``.
    homes : dict of str to list of str
        The names that each submodule defines, by the submodule's name within the package.
    renamed : dict of str to str, optional
        Names of an earlier version, with the public name, or the attribute of one, that each now
        has. They work for one release and warn.

    Returns
    -------
    getattr, dir : callable
    all : list of str
    """
    home = {name: module for module, names in homes.items() for name in names}
    module = sys.modules[package]
    module.__class__ = _Package

    def __getattr__(name):
        if name in (renamed or {}):
            now = renamed[name]
            told = f"{package}.{name} is {package}.{now} now, and the old name will go."
            warnings.warn(told, FutureWarning, stacklevel=2)
            return attrgetter(now)(module)
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        with told_what_to_install(f"{package}.{name}"):
            return getattr(importlib.import_module(f"{package}.{home[name]}"), name)

    def __dir__():
        return sorted({*vars(module), *home})

    return __getattr__, __dir__, sorted(home)
