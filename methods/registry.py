"""Methods and optimisers by name: recipes, variants and wildcards.

A full name is `METHOD[:VARIANT][:FIELD=VALUE...][+PLUGIN...]`. A variant is a named set of hyperparameter values;
further values may follow it. Plug-ins are optimisers and losses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from fedprompt.methods import names
from fedprompt.methods.base import Method
from fedprompt.methods.configuration import configure, hint
from fedprompt.methods.discovery import discover, load_plugin
from fedprompt.methods.errors import MethodError
from fedprompt.methods.optimiser import LossPlugin, Optimiser
from fedprompt.methods.registration import BROKEN, METHODS, OPTIMISERS, register, register_optimiser

__all__ = [
    "BROKEN",
    "METHODS",
    "OPTIMISERS",
    "Recipe",
    "Settings",
    "create",
    "discover",
    "expand",
    "load_plugin",
    "misfit",
    "parse_settings",
    "register",
    "register_optimiser",
]

_NOTHING = object()
Settings = Mapping[str, Mapping[str, Any]]
"""Hyperparameter values: method or optimiser name -> field -> value."""


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
