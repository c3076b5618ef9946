"""Settings of local training, which one method may have to itself: `per-method` in a preset, as `bench tune` writes."""

import difflib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from fedprompt.benchmark.errors import ConfigError
from fedprompt.methods import registry
from fedprompt.methods.registry import Recipe, Settings

if TYPE_CHECKING:  # which itself needs this module
    from fedprompt.benchmark.config.options import RunConfig


class LocalTrainingOptions(BaseModel):
    """How a client trains. What a round is, who takes part and who is scored is not here: all methods share that."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: Annotated[int, Field(ge=1, description="local epochs a round")] = 1
    batch_size: Annotated[int, Field(ge=1, description="local batch size")] = 16
    lr: Annotated[float, Field(gt=0, description="learning rate of the local SGD")] = 0.05
    momentum: Annotated[float, Field(ge=0, lt=1, description="momentum of the local SGD")] = 0.9
    weight_decay: Annotated[float, Field(ge=0, description="weight decay of the local SGD")] = 1e-5
    clip_norm: Annotated[float | None, Field(gt=0, description="bound on the norm of a client's gradient")] = None


class MethodOverrides(LocalTrainingOptions):
    """What one method has to itself; of the settings of local training only those that are given."""

    set: tuple[str, ...] = Field((), description="METHOD.FIELD=VALUE")
    trials: int | None = Field(None, ge=1, description="settings that were tried before these were chosen")

    @property
    def training(self) -> dict[str, Any]:
        """The given settings of local training."""
        return {
            name: getattr(self, name) for name in LocalTrainingOptions.model_fields if name in self.model_fields_set
        }

    @property
    def words(self) -> dict[str, Any]:
        """What was given, as a preset writes it."""
        fields = {"set": list(self.set)} if self.set else {}
        return {name.replace("_", "-"): value for name, value in self.training.items()} | fields


def recipe(method: str, settings: Settings, own: MethodOverrides | None) -> Recipe:
    """The recipe of a method with the fields of `--set`, and over them those that it has to itself."""
    fields = registry.parse_settings(own.set if own else ())
    merged = {part: {**settings.get(part, {}), **fields.get(part, {})} for part in {**settings, **fields}}
    made = registry.create(method, merged)
    if strange := sorted(fields.keys() - made.settings.keys()):
        raise ConfigError(
            f"per-method {method} sets {strange[0]}.…, which is no part of it: move it to its own method."
        )
    return made


def read_own(content: Any, source: str) -> dict[str, dict[str, Any]]:
    """The `per-method` part of a preset, with the names of options as fields. Raises `ConfigError`."""
    if not isinstance(content, Mapping) or not all(isinstance(own, Mapping) for own in content.values()):
        raise ConfigError(f"preset {source}: per-method maps methods to options, as in 'fedvpt: {{lr: 0.05}}'.")
    return {str(method): dict(_fields(str(method), own, source)) for method, own in content.items()}


def _fields(method: str, own: Mapping[Any, Any], source: str) -> list[tuple[str, Any]]:
    fields = [(str(key).replace("-", "_"), value) for key, value in own.items()]
    for name, _ in fields:
        if name not in MethodOverrides.model_fields:
            close = difflib.get_close_matches(name, MethodOverrides.model_fields, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            known = ", ".join(name.replace("_", "-") for name in MethodOverrides.model_fields)
            raise ConfigError(f"preset {source}: per-method {method}: no option {name!r}{hint}; a method has {known}.")
    return [(name, [value] if name == "set" and not isinstance(value, list) else value) for name, value in fields]


def without(own: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """A method's own settings less those that the command line decides, which is then no longer the tuned choice."""
    fields = {text.partition("=")[0].strip() for text in given.get("set", ())}
    kept = {name: value for name, value in own.items() if name not in given or name == "set"}
    if "set" in kept:
        kept["set"] = [text for text in kept["set"] if str(text).partition("=")[0].strip() not in fields]
    if kept != dict(own):
        kept.pop("trials", None)
    return kept


def own_settings(per_method: Mapping[str, MethodOverrides], grid: Sequence["RunConfig"]) -> dict[str, dict[str, Any]]:
    """For each run with settings of its method alone: the options that it has so, and after how many trials."""
    owns = {config.run_id: per_method[config.method] for config in grid if config.method in per_method}
    return {
        run_id: {"options": sorted(own.training), "trials": own.trials}
        for run_id, own in owns.items()
        if own.training or own.trials
    }
