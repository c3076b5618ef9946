"""The settings that `bench tune` tries: a grid of values or random draws, the same number for every method."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from pydantic import ValidationError

from fedprompt.benchmark.config.method_overrides import LocalTrainingOptions, MethodOverrides
from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.simulation.random_streams import RandomStreams
from fedprompt.methods import registry
from fedprompt.methods.registry import Recipe

FORM = "NAME=A,B,C, or NAME=LOW..HIGH and NAME=LOW..HIGH:log for draws, as in lr=0.001..0.3:log"


@dataclass(frozen=True)
class Axis:
    """One setting and the values it may take: `ends` are the limits of a range, which is drawn from alone."""

    text: str
    name: str  # an option of local training, or METHOD.FIELD
    values: tuple[Any, ...] = ()
    ends: tuple[Any, Any] | None = None
    log: bool = False

    @property
    def owner(self) -> str:
        """The method or plug-in whose field it is; empty for an option of local training."""
        return self.name.partition(".")[0] if "." in self.name else ""

    def draws(self, count: int, seed: int) -> list[Any]:
        """So many values, each drawn uniformly; the same ones for every method. Whole ends give whole numbers."""
        rng = RandomStreams("tune", self.text, seed).numpy("draws")
        if self.ends is None:
            return [self.values[k] for k in rng.integers(len(self.values), size=count)]
        whole = all(isinstance(end, int) for end in self.ends)
        low, high = self.ends
        if whole and not self.log:
            return rng.integers(low, high + 1, size=count).tolist()
        drawn = np.exp(rng.uniform(math.log(low), math.log(high), count)) if self.log else rng.uniform(low, high, count)
        return [round(value) if whole else float(f"{value:.3g}") for value in drawn.tolist()]


def axis(text: str) -> Axis:
    """A `--grid` text, its values checked. Raises `ConfigError` or `MethodError`."""
    name, equals, written = (part.strip() for part in text.partition("="))
    name = name if "." in name else name.replace("-", "_")
    if not (equals and written):
        raise ConfigError(f"--grid {text!r} is not of the form {FORM}.")
    low, dots, high = written.partition("..")
    if not dots:
        values = tuple(_checked(name, word.strip()) for word in written.split(",") if word.strip())
        return Axis(text, name, tuple(dict.fromkeys(values)))
    high, log = high.removesuffix(":log"), high.endswith(":log")
    ends = (_checked(name, low), _checked(name, high))
    if not all(isinstance(end, int | float) for end in ends) or ends[0] >= ends[1] or (log and ends[0] <= 0):
        raise ConfigError(f"--grid {text!r}: a range goes from a lower number to a higher one, above 0 for :log.")
    return Axis(text, name, ends=ends, log=log)


def trials(
    axes: Sequence[Axis], recipes: Sequence[Recipe], draws: int | None, seed: int
) -> dict[str, list[MethodOverrides]]:
    """What is tried of each method, in order: the product of all values, or `draws` random draws.

    A field is tried with its own method alone. A method that trains nothing has no use for options of local training:
    what is left of its trials after them is tried once. Every other method gets the same number of trials, or a
    `ConfigError` is raised.
    """
    used = {part for recipe in recipes for part in recipe.settings}
    for one in axes:
        if one.owner and one.owner not in used:
            raise ConfigError(f"--grid {one.text}: {one.owner} is not among the methods; add it to --methods.")
        if one.ends and draws is None:
            raise ConfigError(f"--grid {one.text}: a range is drawn from; say how often with --draws.")
    if len({one.name for one in axes}) < len(axes):
        raise ConfigError("--grid names a setting twice: give all its values at once.")
    found = {recipe.name: _trials(axes, recipe, draws, seed) for recipe in recipes}
    counts = {recipe.name: len(found[recipe.name]) for recipe in recipes if recipe.method.phases()}
    if draws is None and len(set(counts.values())) > 1:
        least, most = min(counts, key=lambda name: counts[name]), max(counts, key=lambda name: counts[name])
        raise ConfigError(
            f"--grid gives {most} {counts[most]} trials and {least} {counts[least]}, which is no fair comparison: "
            "--draws N draws N settings for every method."
        )
    return found


def _trials(axes: Sequence[Axis], recipe: Recipe, draws: int | None, seed: int) -> list[MethodOverrides]:
    trains = bool(recipe.method.phases())
    mine = [one for one in axes if (one.owner in recipe.settings if one.owner else trains)]
    if draws is None:
        points = list(product(*(one.values for one in mine)))
    else:
        points = list(zip(*(one.draws(draws, seed) for one in mine), strict=True)) if mine else [()]
    tried = [_own(dict(zip([one.name for one in mine], point, strict=True))) for point in points]
    return tried if trains else list({str(own): own for own in tried}.values())


def _own(point: dict[str, Any]) -> MethodOverrides:
    fields = tuple(f"{name}={_written(value)}" for name, value in point.items() if "." in name)
    given: dict[str, Any] = {name: value for name, value in point.items() if "." not in name}
    return MethodOverrides(**given | ({"set": fields} if fields else {}))


def _written(value: Any) -> str:
    return repr(value) if isinstance(value, float) else json.dumps(value)


def _checked(name: str, word: str) -> Any:
    """The value behind a word, within the limits of its option or field."""
    if "." in name:
        owner, _, field = name.partition(".")
        return registry.parse_settings([f"{name}={word}"])[owner][field]
    if name not in LocalTrainingOptions.model_fields:
        known = ", ".join(known.replace("_", "-") for known in LocalTrainingOptions.model_fields)
        raise ConfigError(f"--grid {name}: what can be tuned is {known}, and METHOD.FIELD.")
    try:
        return getattr(LocalTrainingOptions(**{name: word}), name)  # type: ignore[arg-type]
    except ValidationError as error:
        raise ConfigError(f"--grid {name}={word}: {error.errors()[0]['msg'].lower()}.") from error
