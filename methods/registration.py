"""The tables of registered methods and optimisers, and the decorators that fill them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from fedprompt.methods.base import Method
from fedprompt.methods.errors import MethodError
from fedprompt.methods.optimiser import LossPlugin, Optimiser
from fedprompt.methods.renamed import refuse_old_hooks

METHODS: dict[str, type[Method]] = {}
OPTIMISERS: dict[str, type[Optimiser]] = {}
BROKEN: dict[str, str] = {}  # entry point -> why its import failed

M = TypeVar("M", bound=Method)
O = TypeVar("O", bound=Optimiser)  # noqa: E741


def register(
    name: str,
    *,
    paper: str,
    year: int,
    family: str,
    url: str = "",
    variants: Mapping[str, Mapping[str, Any]] | None = None,
    compared: Sequence[str] = (),
) -> Callable[[type[M]], type[M]]:
    """Class decorator that registers a method.

    Args:
        name: What users write, as in `--methods fedvpt`.
        paper: Authors, title and venue.
        year: Year of publication.
        family: Group of methods in tables.
        url: Address of the paper.
        variants: Variant name -> hyperparameter values.
        compared: Variants that `all` includes, because the paper reports them beside the method itself.

    Raises:
        MethodError: Another module registered the name.
    """

    def add(cls: type[M]) -> type[M]:
        cls.variants, cls.compared = dict(variants or {}), tuple(compared)
        _enter(METHODS, cls, name, paper, year, family, url)
        return cls

    return add


def register_optimiser(name: str, *, paper: str, year: int, url: str = "") -> Callable[[type[O]], type[O]]:
    """Class decorator that registers an optimiser or a loss plug-in, written `METHOD+NAME`."""

    def add(cls: type[O]) -> type[O]:
        _enter(OPTIMISERS, cls, name, paper, year, "loss" if issubclass(cls, LossPlugin) else "optimiser", url)
        return cls

    return add


def _enter(table: dict[str, Any], cls: type[Any], name: str, paper: str, year: int, family: str, url: str) -> None:
    taken = METHODS.get(name) or OPTIMISERS.get(name)
    if taken is not None and taken.__module__ != cls.__module__:
        raise MethodError(f"the name {name!r} is taken by {taken.__module__}: choose another.")
    refuse_old_hooks(cls)
    cls.name, cls.paper, cls.year, cls.family, cls.url = name, paper, year, family, url
    table[name] = cls
