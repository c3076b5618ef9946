"""The partitions by name. Adding one is adding a function to a module of `fedprompt.data.partitions`."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from fedprompt.data import partitions
from fedprompt.data.dataset import DataSet
from fedprompt.data.errors import unknown
from fedprompt.data.partitions.assignment import Assignment

if TYPE_CHECKING:
    from fedprompt.data.partitions.settings import PartitionSettings

HELD_OUT = 0.2
REQUIRED = inspect.Parameter.empty
"""The default of a setting that the partition cannot do without."""

Spread = TypeVar("Spread", bound=Callable[..., Assignment])


@dataclass(frozen=True)
class Kind:
    """One partition: its function, and the fields of PartitionSettings that it uses with their defaults."""

    name: str
    function: Callable[..., Assignment]
    uses: Mapping[str, Any]

    @property
    def description(self) -> str:
        """One line that says what the partition does."""
        return (self.function.__doc__ or "").partition("\n")[0]

    def spread(self, dataset: DataSet, settings: "PartitionSettings", rng: np.random.Generator) -> Assignment:
        """Who holds which samples of `dataset`. Raises DataError where the settings do not fit it."""
        return self.function(dataset, rng, **{name: getattr(settings, name) for name in _keywords(self.function)})


def _keywords(function: Callable[..., Assignment]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


_kinds: dict[str, Kind] = {}


def partition(
    name: str, chosen: Mapping[str, Any] = MappingProxyType({"held_out": HELD_OUT})
) -> Callable[[Spread], Spread]:
    """Decorator that makes `function(dataset, rng, *, ...) -> Assignment` available as the partition `name`.

    Its keywords are the fields of PartitionSettings that it uses, with their defaults; `chosen` are those that are used
    after it, in choosing the held-out clients. One that only has wishes ends in `assign`.
    """

    def enter(function: Spread) -> Spread:
        _kinds[name] = Kind(name, function, {**chosen, **_keywords(function)})
        return function

    return enter


@cache
def _discover() -> None:
    for module in pkgutil.iter_modules(partitions.__path__):
        importlib.import_module(f"{partitions.__name__}.{module.name}")


def find(name: str) -> Kind:
    """The partition called `name`. Raises DataError for an unknown one."""
    _discover()
    if name not in _kinds:
        raise unknown("partition", name, _kinds)
    return _kinds[name]


def names() -> list[str]:
    """The names of all partitions, sorted."""
    _discover()
    return sorted(_kinds)
