"""Names to methods: `@register`, wildcards, variants, optimiser plug-ins, user files and entry points.

A name is `METHOD[:VARIANT][+OPTIMISER...]`. A variant is a set of field values under a name.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import importlib
import importlib.util
import math
import pkgutil
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TypeVar

from fedprompt.methods.base import Method
from fedprompt.methods.errors import MethodError
from fedprompt.methods.optimiser import Optimiser

METHODS: dict[str, type[Method]] = {}
OPTIMISERS: dict[str, type[Optimiser]] = {}
PACKAGE = __name__.rpartition(".")[0]
GROUPS = ("fedprompt.methods", "bench.methods")  # the second is the name of version 0.1
BROKEN: dict[str, str] = {}  # entry point -> why its import failed

M = TypeVar("M", bound=Method)
O = TypeVar("O", bound=Optimiser)  # noqa: E741
Settings = Mapping[str, Mapping[str, Any]]  # method or plug-in name -> field -> value


def register(
    name: str, *, paper: str, year: int, family: str, variants: Mapping[str, Mapping[str, Any]] | None = None
) -> Callable[[type[M]], type[M]]:
    """Class decorator that puts a method on the list under `name`; `family` groups rows in tables."""

    def add(cls: type[M]) -> type[M]:
        cls.variants = dict(variants or {})
        _enter(METHODS, cls, name, paper, year, family)
        return cls

    return add


def register_optimiser(name: str, *, paper: str, year: int) -> Callable[[type[O]], type[O]]:
    """Class decorator that puts an optimiser plug-in on the list, to be written `METHOD+NAME`."""

    def add(cls: type[O]) -> type[O]:
        _enter(OPTIMISERS, cls, name, paper, year, "optimiser plug-in")
        return cls

    return add


def _enter(table: dict[str, Any], cls: type[Any], name: str, paper: str, year: int, family: str) -> None:
    taken = METHODS.get(name) or OPTIMISERS.get(name)
    if taken is not None and taken.__module__ != cls.__module__:
        raise MethodError(f"the name {name!r} is taken by {taken.__module__}: choose another.")
    cls.name, cls.paper, cls.year, cls.family = name, paper, year, family
    table[name] = cls


def discover() -> None:
    """Imports every method, every optimiser and every entry point of the groups in `GROUPS`, once.

    An entry point that fails is kept in `BROKEN` with its reason; the others still load.
    """
    here = Path(__file__).parent
    for package, folder in ((PACKAGE, here), (f"{PACKAGE}.optimisers", here / "optimisers")):
        for module in pkgutil.iter_modules([str(folder)]):
            if not module.ispkg:
                importlib.import_module(f"{package}.{module.name}")
    for point in (point for group in GROUPS for point in entry_points(group=group)):
        if point.name not in BROKEN:
            try:
                point.load()
            except Exception as error:  # a stranger's module may raise anything
                BROKEN[point.name] = f"{type(error).__name__}: {error}"


def load_plugin(path: str | Path) -> None:
    """Runs a user's method file, once. Raises `MethodError` when it is absent, fails, or registers nothing."""
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
    tables: list[dict[str, Any]] = [METHODS, OPTIMISERS]
    before = [dict(table) for table in tables]
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
        if tables == before:
            raise MethodError(f"--plugin {path} registers no method: decorate its class with @register(...).")
    except Exception as error:  # a user's file may raise anything, and leaves nothing behind when it does
        del sys.modules[module_name]
        for table, old in zip(tables, before, strict=True):
            table.clear()
            table.update(old)
        if isinstance(error, MethodError):
            raise
        raise MethodError(f"--plugin {path} cannot be imported: {type(error).__name__}: {error}") from error


@dataclass(frozen=True)
class Recipe:
    """A method with its settings, ready to run, and the optimiser plug-ins that go with it."""

    name: str
    method: Method
    optimisers: tuple[Optimiser, ...] = ()

    @property
    def settings(self) -> dict[str, dict[str, Any]]:
        """Every field's value, by method or plug-in name."""
        return {part.name: part.fields() for part in (self.method, *self.optimisers)}

    @property
    def deviations(self) -> list[str]:
        """Known differences from the papers, of the method and its plug-ins."""
        return [text for part in (self.method, *self.optimisers) for text in part.deviations]

    @property
    def class_rows(self) -> tuple[str, ...]:
        """Names with a row per class: the method's, and those of what its plug-ins hold for these (`PLUGIN.TENSOR`)."""
        rows = self.method.class_rows
        return (*rows, *(f"{optimiser.name}.{row}" for optimiser in self.optimisers for row in rows))

    @property
    def not_fusible(self) -> str:
        """Why its clients cannot train in one pass; empty where they can."""
        return next((part.not_fusible for part in (self.method, *self.optimisers) if part.not_fusible), "")

    @property
    def versions(self) -> dict[str, int]:
        """The code version of the method and of each plug-in."""
        return {part.name: part.version for part in (self.method, *self.optimisers)}


def expand(patterns: Sequence[str]) -> list[str]:
    """Full names for a list of names and wildcards, in order and without repetition.

    `all` is every method without its variants; `pep-fedpt:*` is every variant of one; with a plug-in, those that it
    can act on. Raises `MethodError` for a name or wildcard that matches nothing.
    """
    discover()
    variants = [f"{name}:{variant}" for name, cls in METHODS.items() for variant in cls.variants]
    chosen: dict[str, None] = {}
    for pattern in patterns:
        base, plus, optimisers = pattern.partition("+")
        if base == "all":
            names = sorted(METHODS)
        elif any(sign in base for sign in "*?["):
            names = [n for n in (variants if ":" in base else sorted(METHODS)) if fnmatchcase(n, base)]
            if not names:
                raise MethodError(f"no method matches {pattern!r}; available: {', '.join(sorted(METHODS))}.")
        else:
            names = [base]
        known = [plugin for plugin in optimisers.split("+") if plugin in OPTIMISERS]
        if len(names) > 1:
            names = [name for name in names if not any(misfit(name, plugin) for plugin in known)] or names
        for name in names:
            create(name + plus + optimisers)
            chosen[name + plus + optimisers] = None
    return list(chosen)


def create(name: str, settings: Settings | None = None) -> Recipe:
    """The recipe behind a full name, with fields set by the variant and then by `settings`.

    Raises `MethodError` for an unknown method, variant, plug-in or field, or a value out of its limits.
    """
    discover()
    base, *plugins = name.split("+")
    method_name, colon, variant = base.partition(":")
    cls = _look_up(METHODS, method_name, "method")
    if colon and variant not in cls.variants:
        known = ", ".join(cls.variants) or "none"
        raise MethodError(f"{method_name} has no variant {variant!r}{_hint(variant, cls.variants)}; variants: {known}.")
    fixed, chosen = cls.variants.get(variant, {}), (settings or {}).get(method_name, {})
    if undone := [field for field in chosen if field in fixed and chosen[field] != fixed[field]]:
        raise MethodError(
            f"{method_name}.{undone[0]} is what makes the variant {base}: leave it, or name {method_name}."
        )
    if len(set(plugins)) < len(plugins):
        raise MethodError(f"{name} names an optimiser plug-in twice; name each once.")
    values = {**fixed, **chosen}
    optimisers = []
    for plugin in plugins:
        optimiser = _look_up(OPTIMISERS, plugin, "optimiser plug-in")
        optimisers.append(_configure(optimiser, (settings or {}).get(plugin, {})))
    for plugin in plugins:
        if reason := misfit(base, plugin):
            raise MethodError(f"{name}: {reason}.")
    return Recipe(name, _configure(cls, values), tuple(optimisers))


def misfit(method: str, plugin: str) -> str:
    """Why an optimiser plug-in cannot act on a method (both known), and what to do; empty where it can."""
    cls, optimiser = METHODS[method.partition(":")[0]], OPTIMISERS[plugin]
    if not cls.shares:
        return f"{cls.name} shares nothing that a plug-in could act on; drop +{plugin}"
    if cls.refuses_optimisers:
        return f"{cls.refuses_optimisers}; drop +{plugin}"
    if cls.rebuilt and not optimiser.within_round:
        others = ", ".join(sorted(name for name, other in OPTIMISERS.items() if other.within_round))
        return f"{plugin} remembers earlier rounds, but {cls.rebuilt}; drop it, or take one that does not ({others})"
    return ""


def parse_settings(assignments: Sequence[str]) -> dict[str, dict[str, Any]]:
    """`METHOD.FIELD=VALUE` texts to checked values, by method or plug-in and field. Raises `MethodError`."""
    discover()
    settings: dict[str, dict[str, Any]] = {}
    for text in assignments:
        target, equals, value = text.partition("=")
        owner, dot, field = target.strip().partition(".")
        if not (equals and dot):
            raise MethodError(f"--set {text!r} is not of the form METHOD.FIELD=VALUE, as in fedvpt.tokens=5.")
        cls = OPTIMISERS.get(owner) or _look_up(METHODS, owner, "method")
        parsed = _read_value(text, value)
        settings.setdefault(owner, {})[field] = getattr(_configure(cls, {field: parsed}), field)
    return settings


def _read_value(text: str, value: str) -> Any:
    import yaml

    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise MethodError(f"--set {text!r}: the value cannot be read.") from error
    if isinstance(parsed, str):
        with suppress(ValueError):
            return float(parsed)  # YAML takes 1e-3 for a text
    return parsed


def _configure(cls: type[Any], values: Mapping[str, Any]) -> Any:
    """An instance of `cls` with checked field values."""
    if not values:
        return cls()
    from typing import get_type_hints

    from pydantic import TypeAdapter, ValidationError

    fields = {f.name: f for f in dataclasses.fields(cls)}
    hints = get_type_hints(cls)
    checked = {}
    for name, value in values.items():
        if name not in fields:
            known = ", ".join(fields) or "none"
            raise MethodError(f"{cls.name} has no field {name!r}{_hint(name, fields)}; fields: {known}.")
        try:
            checked[name] = TypeAdapter(hints[name]).validate_python(value, strict=True)
        except ValidationError as error:
            raise MethodError(f"{cls.name}.{name}={value}: {error.errors()[0]['msg'].lower()}.") from error
        _check_limits(f"{cls.name}.{name}", checked[name], fields[name].metadata)
    return cls(**checked)


def _check_limits(label: str, value: Any, limits: Mapping[str, Any]) -> None:
    low, high = limits.get("low"), limits.get("high")
    if value is None or isinstance(value, str | bool):
        return
    if not math.isfinite(value):
        raise MethodError(f"{label}={value} is not a finite number.")
    if not ((low is None or value >= low) and (high is None or value <= high)):
        allowed = f"at least {low}" if high is None else f"at most {high}" if low is None else f"from {low} to {high}"
        raise MethodError(f"{label}={value} is out of range: it must be {allowed}.")


def _look_up(table: Mapping[str, Any], name: str, kind: str) -> Any:
    if name in table:
        return table[name]
    if name in BROKEN:
        raise MethodError(f"{kind} {name!r} comes from a plug-in that failed to import: {BROKEN[name]}")
    known = ", ".join(sorted(table)) or "none"
    raise MethodError(f"unknown {kind} {name!r}{_hint(name, table)}; available: {known}.")


def _hint(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
