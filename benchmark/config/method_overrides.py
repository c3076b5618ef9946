"""Options of a single method: the `per-method` part of a preset, as `bench tune` writes it."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from fedprompt.benchmark.config.local_optimizer import OPTIONS
from fedprompt.benchmark.config.run_config import LocalTrainingOptions, RunConfig
from fedprompt.benchmark.errors import ConfigError, did_you_mean
from fedprompt.methods import registry
from fedprompt.methods.registry import Recipe, Settings


class MethodOverrides(LocalTrainingOptions):
    """Options of one method. Only the fields that were given override the shared options."""

    set: tuple[str, ...] = Field((), description="METHOD.FIELD=VALUE")
    trials: int | None = Field(None, ge=1, description="trials from which these values were chosen")

    @property
    def training(self) -> dict[str, Any]:
        """The given hyperparameters of local training."""
        return {
            name: getattr(self, name) for name in LocalTrainingOptions.model_fields if name in self.model_fields_set
        }

    def to_preset(self) -> dict[str, Any]:
        """Returns the given values as a preset writes them, without the number of trials."""
        fields = {"set": list(self.set)} if self.set else {}
        return {name.replace("_", "-"): value for name, value in self.training.items()} | fields


def recipe(method: str, settings: Settings, overrides: MethodOverrides | None) -> Recipe:
    """Returns a method with the fields of `--set` and, taking precedence, those of its overrides.

    Raises:
        ConfigError: the overrides set a field of another method.
    """
    fields = registry.parse_settings(overrides.set if overrides else ())
    merged = {part: {**settings.get(part, {}), **fields.get(part, {})} for part in {**settings, **fields}}
    created = registry.create(method, merged)
    if foreign := sorted(fields.keys() - created.settings.keys()):
        raise ConfigError(
            f"per-method {method} sets {foreign[0]}.…, which is not part of it: move it to the entry of its own method."
        )
    return created


def read_overrides(content: Any, source: str) -> dict[str, dict[str, Any]]:
    """Returns the `per-method` part of a preset, with the field names of `MethodOverrides`.

    Raises:
        ConfigError: `content` does not map methods to options, or an option is unknown.
    """
    if not isinstance(content, Mapping) or not all(isinstance(options, Mapping) for options in content.values()):
        raise ConfigError(f"preset {source}: per-method maps methods to options, as in 'fedvpt: {{lr: 0.05}}'.")
    return {str(method): _fields(str(method), options, source) for method, options in content.items()}


def _fields(method: str, options: Mapping[Any, Any], source: str) -> dict[str, Any]:
    fields = {str(key).replace("-", "_"): value for key, value in options.items()}
    for name in fields:
        if name not in MethodOverrides.model_fields:
            hint = did_you_mean(name, MethodOverrides.model_fields)
            known = ", ".join(name.replace("_", "-") for name in MethodOverrides.model_fields)
            raise ConfigError(
                f"preset {source}: per-method {method}: unknown option {name!r}{hint}; available: {known}."
            )
    return {name: [value] if name == "set" and not isinstance(value, list) else value for name, value in fields.items()}


def without_overruled(overrides: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns overrides without what the command line sets.

    If that removes anything, the rest is no longer the tuned choice, so the number of trials is removed too.
    """
    fields = {text.partition("=")[0].strip() for text in given.get("set", ())}
    remaining = {name: value for name, value in overrides.items() if name not in given or name == "set"}
    if "set" in remaining:
        remaining["set"] = [text for text in remaining["set"] if str(text).partition("=")[0].strip() not in fields]
    if remaining != dict(overrides):
        remaining.pop("trials", None)
    return remaining


def override_notes(per_method: Mapping[str, MethodOverrides], grid: Sequence[RunConfig]) -> dict[str, dict[str, Any]]:
    """Returns, by run id, the overridden options and the number of trials of each run that has overrides.

    The options of an overridden optimizer count as overridden, too.
    """
    overrides = {config.run_id: per_method[config.method] for config in grid if config.method in per_method}
    return {
        run_id: {
            "options": sorted({*given.training, *(OPTIONS if given.training.get("optimizer") else ())}),
            "trials": given.trials,
        }
        for run_id, given in overrides.items()
        if given.training or given.trials
    }
