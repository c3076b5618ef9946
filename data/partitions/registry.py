"""The kinds of partition by name. To add one, add a decorated function to a module of `fedprompt.data.partitions`."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from fedprompt.data.errors import unknown
from fedprompt.data.partitions.assignment import Assignment

HELD_OUT = 0.2
REQUIRED = inspect.Parameter.empty
"""The default of an option that must be given."""

PartitionFunction = TypeVar("PartitionFunction", bound=Callable[..., Assignment])


@dataclass(frozen=True)
class PartitionKind:
    """A kind of partition."""

    name: str
    function: Callable[..., Assignment]  # function(dataset, rng, *, ...) -> Assignment
    parameters: Mapping[str, Any]  # options that the function takes, with defaults
    options: Mapping[str, Any]  # these, and those used to choose held-out clients

    @property
    def description(self) -> str:
        """The first line of the function's docstring."""
        return (self.function.__doc__ or "").partition("\n")[0]


_kinds: dict[str, PartitionKind] = {}


def partition(
    name: str, extra_options: Mapping[str, Any] = MappingProxyType({"held_out": HELD_OUT})
) -> Callable[[PartitionFunction], PartitionFunction]:
    """Decorator that registers `function(dataset, rng, *, ...) -> Assignment` as a kind of partition.

    Functions that only determine target class shares return `assign(...)`.

    Args:
        name: The name for `--partition`.
        extra_options: Fields of `PartitionSettings` that are used besides the keyword-only parameters of the function,
            with their defaults.
    """

    def add(function: PartitionFunction) -> PartitionFunction:
        parameters = inspect.signature(function).parameters.values()
        defaults = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
        _kinds[name] = PartitionKind(name, function, defaults, {**extra_options, **defaults})
        return function

    return add


@cache
def _discover() -> None:
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        importlib.import_module(f"{__package__}.{module.name}")


def find(name: str) -> PartitionKind:
    """Returns a kind of partition. Raises DataError for an unknown name."""
    _discover()
    if name not in _kinds:
        raise unknown("partition", name, _kinds)
    return _kinds[name]


def names() -> list[str]:
    """Returns the names of all kinds of partition, sorted."""
    _discover()
    return sorted(_kinds)
