"""Search space of `bench tune`: a grid of values or random draws, with equally many trials for every method."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from pydantic import ValidationError

from fedprompt.benchmark.config.method_overrides import MethodOverrides
from fedprompt.benchmark.config.run_config import LocalTrainingOptions
from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.simulation.random_streams import RandomStreams
from fedprompt.methods import registry
from fedprompt.methods.registry import Recipe

FORM = "NAME=A,B,C or, for draws, NAME=LOW..HIGH or NAME=LOW..HIGH:log, as in lr=0.001..0.3:log"


@dataclass(frozen=True)
class Axis:
    """One hyperparameter and its values, or the limits of a range (`ends`), which is only sampled."""

    text: str
    name: str  # an option of local training, or METHOD.FIELD
    values: tuple[Any, ...] = ()
    ends: tuple[Any, Any] | None = None
    log: bool = False

    @property
    def owner(self) -> str:
        """The method or optimiser that has the field; empty for an option of local training."""
        return self.name.partition(".")[0] if "." in self.name else ""

    def draws(self, count: int, seed: int) -> list[Any]:
        """Draws `count` values uniformly, the same ones for every method. A range between integers gives integers."""
        rng = RandomStreams("tune", self.text, seed).numpy("draws")
        if self.ends is None:
            return [self.values[k] for k in rng.integers(len(self.values), size=count)]
        whole = all(isinstance(end, int) for end in self.ends)
        low, high = self.ends
        if whole and not self.log:
            return rng.integers(low, high + 1, size=count).tolist()
        drawn = np.exp(rng.uniform(math.log(low), math.log(high), count)) if self.log else rng.uniform(low, high, count)
        return [round(value) if whole else float(f"{value:.3g}") for value in drawn.tolist()]


def parse_axis(text: str) -> Axis:
    """Parses a `--grid` text and checks its values. Raises ConfigError or MethodError."""
    name, equals, values_text = (part.strip() for part in text.partition("="))
    name = name if "." in name else name.replace("-", "_")
    if not (equals and values_text):
        raise ConfigError(f"--grid {text!r} is not of the form {FORM}.")
    low, dots, high = values_text.partition("..")
    if not dots:
        values = tuple(_checked(name, word.strip()) for word in values_text.split(",") if word.strip())
        return Axis(text, name, tuple(dict.fromkeys(values)))
    high, log = high.removesuffix(":log"), high.endswith(":log")
    ends = (_checked(name, low), _checked(name, high))
    if not all(isinstance(end, int | float) for end in ends) or ends[0] >= ends[1] or (log and ends[0] <= 0):
        raise ConfigError(f"--grid {text!r}: a range goes from a lower to a higher number, above 0 for :log.")
    return Axis(text, name, ends=ends, log=log)


def make_trials(
    axes: Sequence[Axis], recipes: Sequence[Recipe], draws: int | None, seed: int
) -> dict[str, list[MethodOverrides]]:
    """Returns the trials of each method, in order: all combinations of values, or `draws` random draws.

    A field is varied only for its own method. Options of local training do not apply to a method that trains nothing,
    so its trials that become equal without them are run once.

    Raises:
        ConfigError: the axes do not fit the methods, or two methods that train would get different numbers of trials.
    """
    used = {part for recipe in recipes for part in recipe.settings}
    for axis in axes:
        if axis.owner and axis.owner not in used:
            raise ConfigError(f"--grid {axis.text}: {axis.owner} is not among the methods; add it to --methods.")
        if axis.ends and draws is None:
            raise ConfigError(f"--grid {axis.text}: a range needs a number of draws; add --draws N.")
    if len({axis.name for axis in axes}) < len(axes):
        raise ConfigError("--grid names a hyperparameter twice: give all its values at once.")
    trials = {recipe.name: _method_trials(axes, recipe, draws, seed) for recipe in recipes}
    counts = {recipe.name: len(trials[recipe.name]) for recipe in recipes if recipe.method.phases()}
    if draws is None and len(set(counts.values())) > 1:
        fewest, most = min(counts, key=lambda name: counts[name]), max(counts, key=lambda name: counts[name])
        raise ConfigError(
            f"--grid gives {most} {counts[most]} trials and {fewest} {counts[fewest]}, an unfair comparison: "
            "use --draws N for N trials per method."
        )
    return trials


def _method_trials(axes: Sequence[Axis], recipe: Recipe, draws: int | None, seed: int) -> list[MethodOverrides]:
    trains = bool(recipe.method.phases())
    axes = [axis for axis in axes if (axis.owner in recipe.settings if axis.owner else trains)]
    if draws is None:
        points = list(product(*(axis.values for axis in axes)))
    else:
        points = list(zip(*(axis.draws(draws, seed) for axis in axes), strict=True)) if axes else [()]
    trials = [_overrides({axis.name: value for axis, value in zip(axes, point, strict=True)}) for point in points]
    return trials if trains else list({str(overrides): overrides for overrides in trials}.values())


def _overrides(point: dict[str, Any]) -> MethodOverrides:
    fields = tuple(f"{name}={_as_text(value)}" for name, value in point.items() if "." in name)
    given: dict[str, Any] = {name: value for name, value in point.items() if "." not in name}
    return MethodOverrides(**given | ({"set": fields} if fields else {}))


def _as_text(value: Any) -> str:
    return repr(value) if isinstance(value, float) else json.dumps(value)


def _checked(name: str, word: str) -> Any:
    """The value of a word, within the limits of its option or field."""
    if "." in name:
        owner, _, field = name.partition(".")
        return registry.parse_settings([f"{name}={word}"])[owner][field]
    if name not in LocalTrainingOptions.model_fields:
        known = ", ".join(known.replace("_", "-") for known in LocalTrainingOptions.model_fields)
        raise ConfigError(f"--grid {name}: cannot be tuned; available: {known}, and METHOD.FIELD.")
    try:
        return getattr(LocalTrainingOptions(**{name: word}), name)  # type: ignore[arg-type]
    except ValidationError as error:
        raise ConfigError(f"--grid {name}={word}: {error.errors()[0]['msg'].lower()}.") from error
