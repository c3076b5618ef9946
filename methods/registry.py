"""Methods and optimisers by name: registration, discovery, plug-ins, variants and wildcards.

A full name is `METHOD[:VARIANT][:FIELD=VALUE...][+PLUGIN...]`. A variant is a named set of hyperparameter values;
further values may follow it. Plug-ins are optimisers and losses.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import logging
import pkgutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from fedprompt.methods import names
from fedprompt.methods.base import Method
from fedprompt.methods.configuration import configure, hint
from fedprompt.methods.errors import MethodError
from fedprompt.methods.optimiser import LossPlugin, Optimiser
from fedprompt.methods.renamed import explain, refuse_old_hooks

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

METHODS: dict[str, type[Method]] = {}
OPTIMISERS: dict[str, type[Optimiser]] = {}
PACKAGE = __name__.rpartition(".")[0]
GROUPS = ("fedprompt.methods", "bench.methods")  # entry points; the second is the name in version 0.1
BROKEN: dict[str, str] = {}  # entry point -> why its import failed

M = TypeVar("M", bound=Method)
O = TypeVar("O", bound=Optimiser)  # noqa: E741
_NOTHING = object()
logger = logging.getLogger(__name__)
Settings = Mapping[str, Mapping[str, Any]]
"""Hyperparameter values: method or optimiser name -> field -> value."""


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


def discover() -> None:
    """Imports all methods, optimisers and entry points. Import errors of entry points are stored in `BROKEN`.

    An entry point of the old group is ignored if the new group has one of the same name.
    """
    here = Path(__file__).parent
    for package, folder in ((PACKAGE, here), (f"{PACKAGE}.optimisers", here / "optimisers")):
        for module in pkgutil.iter_modules([str(folder)]):
            if not module.ispkg:
                importlib.import_module(f"{package}.{module.name}")
    new = {point.name for point in _entry_points() if point.group == GROUPS[0]}
    for point in _entry_points():
        if point.name not in BROKEN and (point.group == GROUPS[0] or point.name not in new):
            try:
                with _taken_back_on_error():
                    point.load()
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # third-party modules may raise anything, or call sys.exit
                BROKEN[point.name] = _reason(error)
                logger.warning("plug-in %s failed to import and is left out: %s", point.name, BROKEN[point.name])


@cache  # scanning all installed distributions is slow
def _entry_points() -> list[EntryPoint]:
    from importlib.metadata import entry_points  # slow to import, and `bench --help` needs none

    found = entry_points()
    return [point for group in GROUPS for point in found.select(group=group)]


@contextmanager
def _taken_back_on_error() -> Iterator[None]:
    """Takes back what the body registers if it raises."""
    before = [(table, dict(table)) for table in (METHODS, OPTIMISERS)]
    try:
        yield
    except BaseException:
        for table, old in before:
            table.clear()
            table.update(old)  # type: ignore[arg-type]
        raise


def _reason(error: BaseException) -> str:
    """The error of a plug-in in one line."""
    renamed = explain(error) if isinstance(error, ImportError) else ""
    try:
        lines = (renamed or str(error)).strip().splitlines()
    except Exception:  # the error's own method may raise anything
        lines = ["its message cannot be read"]
    return ": ".join((type(error).__name__, *lines[:1]))


def load_plugin(path: str | Path) -> None:
    """Imports a plug-in, once.

    Raises:
        MethodError: The file is absent, fails or registers nothing. Registrations of a failed file are undone.
    """
    file = Path(path).resolve()
    module_name = f"bench_plugin_{file.stem}_{hashlib.sha256(bytes(file)).hexdigest()[:8]}"
    if module_name in sys.modules:
        return
    if not file.is_file():
        raise MethodError(f"--plugin {path}: there is no such file.")
    spec = importlib.util.spec_from_file_location(module_name, file)
    if spec is None or spec.loader is None:
        raise MethodError(f"--plugin {path}: not a Python file; its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    registered = len(METHODS) + len(OPTIMISERS)
    sys.modules[module_name] = module
    try:
        with _taken_back_on_error():
            spec.loader.exec_module(module)
            if registered == len(METHODS) + len(OPTIMISERS):
                raise MethodError(f"--plugin {path} registers no method: decorate its class with @register(...).")
    except BaseException as error:  # plug-ins may raise anything, or call sys.exit
        sys.modules.pop(module_name, None)
        if isinstance(error, MethodError | KeyboardInterrupt):
            raise
        if isinstance(error, ImportError) and (renamed := explain(error)):
            raise MethodError(f"--plugin {path} {renamed}") from error
        raise MethodError(f"--plugin {path} cannot be imported: {_reason(error)}") from error


@dataclass(frozen=True)
class Recipe:
    """A configured method and its optimisers, loss plug-ins included."""

    name: str
    method: Method
    optimisers: tuple[Optimiser, ...] = ()

    @property
    def loss_plugins(self) -> tuple[LossPlugin, ...]:
        """Those of the optimisers that change the training loss only; at most one."""
        return tuple(part for part in self.optimisers if isinstance(part, LossPlugin))

    @property
    def settings(self) -> dict[str, dict[str, Any]]:
        """All hyperparameter values, by method or optimiser name."""
        return {part.name: part.fields() for part in (self.method, *self.optimisers)}

    @property
    def deviations(self) -> list[str]:
        """Known differences from the papers, of the method and its optimisers."""
        return [text for part in (self.method, *self.optimisers) for text in part.deviations]

    @property
    def class_rows(self) -> tuple[str, ...]:
        """Names of tensors with one row per class: the method's, and the optimisers' (`OPTIMISER.TENSOR`)."""
        rows = self.method.class_rows
        return (*rows, *(f"{optimiser.name}.{row}" for optimiser in self.optimisers for row in rows))

    @property
    def not_fusible(self) -> str:
        """Why clients cannot train together in one pass; empty if they can."""
        return next((part.not_fusible for part in (self.method, *self.optimisers) if part.not_fusible), "")

    def check_local_optimizer(self, name: str) -> None:
        """Raises MethodError if an optimiser is defined for local SGD only and `name` is another local optimizer."""
        for part in self.optimisers:
            if part.needs_sgd and name != "sgd":
                raise MethodError(
                    f"{self.name}: {part.needs_sgd}; use --optimizer sgd instead of {name}, or drop +{part.name}."
                )

    @property
    def versions(self) -> dict[str, int]:
        """Code versions of the method and each optimiser."""
        return {part.name: part.version for part in (self.method, *self.optimisers)}


def expand(patterns: Sequence[str]) -> list[str]:
    """Resolves names and wildcards to full names, in order, without duplicates.

    `all` is every method, with those of its variants that it declares as `compared`; `*` is every method without
    variants; `pep-fedpt:*` is every variant of one method. A wildcard with plug-ins or values selects only the methods
    that they can be combined with.

    Raises:
        MethodError: A name is unknown or a wildcard matches nothing.
    """
    discover()
    chosen: dict[str, None] = {}
    for pattern in patterns:
        wanted, suffix = names.parse(pattern), "+".join(("", *pattern.split("+")[1:]))
        found = _matching(wanted.plain)
        if len(found) > 1:
            found = [name for name in found if _takes(name, wanted)] or found
        values = "".join(f":{field}={value}" for field, value in wanted.fields.items())
        for name in found:
            chosen[create(name + values + suffix).name] = None
    return list(chosen)


def _matching(pattern: str) -> list[str]:
    """The methods, or variants of methods, that a pattern selects; the pattern itself if it has no wildcard."""
    if pattern == "all":
        return [name for method in sorted(METHODS) for name in _compared(method)]
    if not any(sign in pattern for sign in "*?["):
        return [pattern]
    variants = [f"{name}:{variant}" for name, cls in METHODS.items() for variant in cls.variants]
    found = [name for name in (variants if ":" in pattern else sorted(METHODS)) if fnmatchcase(name, pattern)]
    if not found:
        raise MethodError(f"no method matches {pattern!r}; available: {', '.join(sorted(METHODS))}.")
    return found


def _compared(method: str) -> list[str]:
    """The method and its variants that `all` includes."""
    return [method, *(f"{method}:{variant}" for variant in METHODS[method].compared)]


def _takes(name: str, wanted: names.Name) -> bool:
    """Whether a method or variant has the wanted fields and can be combined with the wanted plug-ins."""
    has_fields = wanted.fields.keys() <= METHODS[name.partition(":")[0]]().fields().keys()
    return has_fields and not any(misfit(name, plugin) for plugin in wanted.plugins if plugin in OPTIMISERS)


def create(name: str, settings: Settings | None = None) -> Recipe:
    """Builds the recipe of a full name. `settings` override default values, but not those that the name fixes.

    Raises:
        MethodError: A method, variant, plug-in or field is unknown, a value is out of range, or a plug-in cannot be
            combined with the method.
    """
    discover()
    settings, parsed = settings or {}, names.parse(name)
    cls = _look_up(METHODS, parsed.method, "method")
    base, fixed = _fixed(cls, parsed)
    chosen = settings.get(cls.name, {})
    for field in chosen:
        if field in fixed and chosen[field] != fixed[field]:
            raise MethodError(f"{cls.name}.{field} is fixed by the variant {base}: leave it, or use {cls.name}.")
    if len(set(parsed.plugins)) < len(parsed.plugins):
        raise MethodError(f"{name} names an optimiser twice; name each once.")
    if late := next((plugin for plugin in parsed.plugins if ":" in plugin), ""):
        owner = late.partition(":")[0]
        raise MethodError(
            f"{name}: +{late}: a method's values precede its plug-ins; --set {owner}.FIELD=VALUE sets theirs."
        )
    classes = [_look_up(OPTIMISERS, plugin, "optimiser") for plugin in parsed.plugins]
    method = configure(cls, {**fixed, **chosen})
    for part in classes:
        if reason := _misfit(method, part):
            raise MethodError(f"{name}: {reason}.")
    losses = [part.name for part in classes if issubclass(part, LossPlugin)]
    if len(losses) > 1:
        raise MethodError(f"{name}: {' and '.join(losses)} both change the logits of the training loss; use one.")
    parts = tuple(configure(part, settings.get(part.name, {})) for part in classes)
    return Recipe("+".join((base, *parsed.plugins)), method, parts)


def _fixed(cls: type[Method], name: names.Name) -> tuple[str, dict[str, Any]]:
    """The name of a method with its variant and values, and the values that it fixes.

    The same values have the same name: in the order of their declaration, in one spelling, after the named variant
    that stands for most of them.
    """
    for variant in name.variants:
        if variant not in cls.variants:
            known = ", ".join(cls.variants) or "none"
            raise MethodError(f"{cls.name} has no variant {variant!r}{hint(variant, cls.variants)}; variants: {known}.")
    if len(name.variants) > 1:
        example = ":".join((cls.name, name.variants[0], "FIELD=VALUE"))
        raise MethodError(f"{name.plain} names two variants; name one, and other values as in {example}.")
    of_variant = dict(cls.variants[name.variants[0]]) if name.variants else {}
    if not name.fields:
        return name.plain, of_variant
    values = of_variant | _inline(cls, name, of_variant)
    matching = [own for own, fixed in cls.variants.items() if all(values.get(f, _NOTHING) == fixed[f] for f in fixed)]
    best = max(matching, key=lambda own: len(cls.variants[own]), default="")
    named = cls.variants.get(best, {})
    rest = [
        f"{field}={names.spell(values[field])}" for field in cls().fields() if field in values.keys() - named.keys()
    ]
    return ":".join((cls.name, *filter(None, (best,)), *rest)), values


def _inline(cls: type[Method], name: names.Name, of_variant: Mapping[str, Any]) -> dict[str, Any]:
    """The checked values of `:FIELD=VALUE`. A default is refused: the run would have two names."""
    given = {field: names.parse_value(text, f"{cls.name}:{field}={text}") for field, text in name.fields.items()}
    method, default = configure(cls, given), cls()
    for field, text in name.fields.items():
        if field in of_variant:
            raise MethodError(
                f"{cls.name}:{field}={text}: the variant {name.plain} fixes {field}; drop one of the two."
            )
        if getattr(method, field) == getattr(default, field):
            raise MethodError(f"{cls.name}:{field}={text} is the default of {field}; leave it out.")
    return {field: getattr(method, field) for field in given}


def misfit(method: str, plugin: str) -> str:
    """Why a registered plug-in cannot be combined with a method or variant, and the remedy; empty if it can."""
    return _misfit(create(method).method, OPTIMISERS[plugin])


def _misfit(method: Method, part: type[Optimiser]) -> str:
    if issubclass(part, LossPlugin):
        if not method.phases():
            return f"{method.name} trains nothing, so there is no loss to change; drop +{part.name}"
        return f"{method.refuses_losses}; drop +{part.name}" if method.refuses_losses else ""
    if not method.shares:
        return f"{method.name} trains no shared tensors that an optimiser could act on; drop +{part.name}"
    if method.refuses_optimisers:
        return f"{method.refuses_optimisers}; drop +{part.name}"
    if method.rebuilt and not part.within_round:
        kept = sorted(n for n, o in OPTIMISERS.items() if o.within_round and not issubclass(o, LossPlugin))
        return (
            f"{part.name} keeps state between rounds, but {method.rebuilt}; drop +{part.name}, or use {', '.join(kept)}"
        )
    return ""


def parse_settings(assignments: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Parses `METHOD.FIELD=VALUE` texts into checked values, by method or optimiser and field.

    Raises:
        MethodError: A text is malformed, a name is unknown or a value is invalid.
    """
    discover()
    settings: dict[str, dict[str, Any]] = {}
    for text in assignments:
        target, equals, value = text.partition("=")
        owner, dot, field = target.strip().partition(".")
        if not (equals and dot):
            raise MethodError(f"--set {text!r} is not of the form METHOD.FIELD=VALUE, as in fedvpt.tokens=5.")
        cls = OPTIMISERS.get(owner) or _look_up(METHODS, owner, "method")
        parsed = names.parse_value(value, f"--set {text!r}")
        settings.setdefault(owner, {})[field] = getattr(configure(cls, {field: parsed}), field)
    return settings


def _look_up(table: Mapping[str, Any], name: str, kind: str) -> Any:
    if name in table:
        return table[name]
    if name in BROKEN:
        raise MethodError(f"{kind} {name!r} comes from an entry point that failed to import: {BROKEN[name]}")
    known = ", ".join(sorted(table)) or "none"
    raise MethodError(f"unknown {kind} {name!r}{hint(name, table)}; available: {known}.")
