"""Registries by name: a new network, data set, pruning rule or figure is one new file in its package."""

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar

from lthpaper.errors import InputError, suggestion

LOCAL = "local"  # the "module" of what was handed over in this process: local:make_my_network

T = TypeVar("T")


def is_local(name: str) -> bool:
    """Whether a network, or a data set, was handed over in this process: no other can make it."""
    return name.startswith(f"{LOCAL}:")


class Registry(Mapping[str, T], Generic[T]):
    """What the modules of a package have registered; each module is imported once, when first needed.

    own: what a name of one's own, outside the package, looks like.
    """

    def __init__(self, what: str, package: str, own: str = ""):
        self.what, self.package = what, package
        self.own = f"; one of your own is {own}" if own else ""
        self._things: dict[str, T] = {}
        self._complete = False

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator: give the decorated thing a name. Raises ValueError if the name is taken."""

        def add(thing: T) -> T:
            if self._things.setdefault(name, thing) is not thing:
                raise ValueError(f"{self.what} {name!r} is registered twice")
            return thing

        return add

    def _discover(self) -> dict[str, T]:
        if not self._complete:
            self._complete = True  # set first, since a module may use the registry while it is imported
            before = dict(self._things)
            try:
                for module in pkgutil.iter_modules(importlib.import_module(self.package).__path__):
                    before = dict(self._things)
                    importlib.import_module(f"{self.package}.{module.name}")
            except BaseException:
                # so the next call fails alike, not with "Unknown"
                self._complete, self._things = False, before
                raise
        return self._things

    def __getitem__(self, name: str) -> T:
        things = self._discover()
        if name not in things:
            hint = suggestion(name, things)
            known = ", ".join(sorted(things)) + self.own
            raise InputError(f"Unknown {self.what} {name!r}.{hint} Known: {known}.")
        return things[name]

    def __contains__(self, name: object) -> bool:
        return name in self._discover()

    def __iter__(self) -> Iterator[str]:
        return iter(self._discover())

    def __len__(self) -> int:
        return len(self._discover())
