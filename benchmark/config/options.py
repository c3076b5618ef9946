"""Options of a grid of runs (`Options`), from the command line and presets, and the runs that they define."""

import os
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from fedprompt.benchmark.backbone.weights import identity
from fedprompt.benchmark.config.local_optimizer import local_training, refuse_without_effect, without_idle
from fedprompt.benchmark.config.method_overrides import MethodOverrides, recipe, without_overruled
from fedprompt.benchmark.config.partition_options import drop_unused, flat
from fedprompt.benchmark.config.preset_files import read_preset
from fedprompt.benchmark.config.run_config import MAX_ROUNDS, LocalTrainingOptions, RunConfig, RunSettings
from fedprompt.benchmark.config.starting_point import StartingPoint
from fedprompt.benchmark.errors import ConfigError
from fedprompt.data import loading as datasets
from fedprompt.data.registry import source
from fedprompt.methods import registry as methods
from fedprompt.methods.registry import Recipe

MAX_VALIDATION = 0.5


class Options(RunSettings):
    """Options of a grid: those that all its runs share, and the lists that it varies."""

    methods: tuple[str, ...] = Field(
        ("all",), description="names METHOD[:VARIANT][:FIELD=VALUE...][+PLUGIN...], wildcards or 'all'"
    )
    datasets: tuple[str, ...] = Field(("digits",), description="data sets")
    alpha: tuple[float, ...] | None = Field(None, description="Dirichlet concentrations; smaller is more skewed")
    seeds: tuple[Annotated[int, Field(ge=0, lt=2**63)], ...] = Field(
        (0, 1, 2), description="seeds, one run per seed, such as 0,1,2 or 0-5"
    )
    set: tuple[str, ...] = Field((), description="METHOD.FIELD=VALUE")
    plugin: tuple[str, ...] = Field((), description="Python files that register additional methods")
    per_method: dict[str, MethodOverrides] = Field({}, description="options of single methods; only in presets")

    @field_validator("held_out", mode="before")
    @classmethod
    def _refuse_one_as_a_share(cls, value: Any) -> Any:
        if isinstance(value, float | str) and not str(value).strip().isdecimal() and _number(value) == 1:
            message = (
                "as a share this is every client and none would train; use a share below 1, or the whole number 1 for "
                "one client"
            )
            raise PydanticCustomError("share", message)
        return value

    @field_validator("held_out")
    @classmethod
    def _whole_number_of_clients(cls, value: float | str | None) -> float | str | None:
        return int(value) if isinstance(value, float) and value >= 1 and value.is_integer() else value

    @field_validator("validation")
    @classmethod
    def _at_most_half(cls, value: float) -> float:
        if value > MAX_VALIDATION:
            message = f"leaves too few samples to train on; use at most {MAX_VALIDATION}, such as 0.2"
            raise PydanticCustomError("share", message)
        return value

    def grid(self, identify: Callable[[str, Path | None, bool], str] | None = None) -> list[RunConfig]:
        """Returns every run of the grid, ordered by data set, partition, method and seed.

        Args:
            identify: returns the identity of a data set; a plan passes one that accepts absent data sets.

        Raises:
            ConfigError, DataError, MethodError: an option is wrong.
        """
        recipes = self._recipes()
        root = None if self.data_root is None else Path(self.data_root)
        shared = {name: getattr(self, name) for name in RunSettings.model_fields}
        shared |= self._start()
        shared["backbone_identity"] = identity(self.backbone, self.checkpoint)
        shared["plugins"] = tuple(os.path.abspath(file) for file in self.plugin)
        for name in self.datasets:
            source(name, root)  # refuses unknown names before a data set is read
        partitions = [self.settings_at(alpha) for alpha in dict.fromkeys(self.alpha or (None,))]
        identities = {
            name: (identify or datasets.identity)(name, root, self.skip_corrupt)
            for name in dict.fromkeys(self.datasets)
        }
        trainings = self._trainings(recipes)
        return [
            RunConfig(
                **shared | flat(partition) | trainings[made.name],
                method=made.name,
                settings=made.settings,
                versions=made.versions,
                dataset=dataset,
                data_identity=identities[dataset],
                seed=seed,
            )
            for dataset, partition, made, seed in product(identities, partitions, recipes, dict.fromkeys(self.seeds))
        ]

    def _start(self) -> dict[str, Any]:
        """The fields of a run configuration that name the model that a run starts from."""
        return {}

    def _trainings(self, recipes: Sequence[Recipe]) -> dict[str, dict[str, Any]]:
        """The options of local training of each method."""
        shared = {name: getattr(self, name) for name in LocalTrainingOptions.model_fields}
        own = {name: overrides.training for name, overrides in self.per_method.items()}
        trainings = {made.name: local_training(made, shared, own.get(made.name, {})) for made in recipes}
        refuse_without_effect(shared, dict.fromkeys(training["optimizer"] for training in trainings.values()))
        return trainings

    def _recipes(self) -> list[Recipe]:
        """The methods of the grid with their fields. Loads the plug-ins."""
        for file in self.plugin:
            methods.load_plugin(file)
        settings = methods.parse_settings(self.set)
        recipes = [recipe(name, settings, self.per_method.get(name)) for name in methods.expand(self.methods)]
        for name, overrides in self.per_method.items():
            made = recipe(name, {}, overrides)  # refuses misspelt methods, also those outside this grid
            if made.name != name:
                raise ConfigError(f"per-method {name}: write {made.name}, the name that its runs have.")
        if unused := settings.keys() - {part for made in recipes for part in made.settings}:
            raise ConfigError(f"--set {sorted(unused)[0]}.…: that method is not in this grid; add it to --methods.")
        return recipes


class ContinuedOptions(Options):
    """Options of a run that starts from the kept model of another. Without rounds, it only evaluates."""

    rounds: Annotated[int, Field(ge=0, le=MAX_ROUNDS, description="training rounds; 0 only evaluates")] = 24
    from_run: str
    from_hash: str
    from_model: str

    def _start(self) -> dict[str, Any]:
        return {"from_run": self.from_run, "from_hash": self.from_hash, "from_model": self.from_model}


def _number(value: float | str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


def options(given: Mapping[str, Any], preset: str | None = None, start: StartingPoint | None = None) -> Options:
    """Returns options from the command line (`given`, takes precedence), a preset or earlier run, and the defaults.

    Args:
        given: Options of the command line.
        preset: The name or file of a preset.
        start: The run whose kept model the run starts from. Its options are the defaults.

    Raises:
        ConfigError: an option is unknown, or its value is out of range.
    """
    if start and preset:
        raise ConfigError(f"--preset {preset}: a run with --from has the options of the earlier run; omit one of them.")
    defaults = start.options(given) if start else read_preset(preset, Options.model_fields) if preset else {}
    defaults = drop_unused(defaults, given)
    per_method = {method: without_overruled(fields, given) for method, fields in defaults.get("per_method", {}).items()}
    if "optimizer" in given:  # the preset's options of another optimizer do not apply
        defaults = without_idle(defaults, given["optimizer"])
        per_method = {method: without_idle(fields, given["optimizer"]) for method, fields in per_method.items()}
    for name, other in (("eval_at", "eval_every"), ("eval_every", "eval_at")):
        if name in given:  # each replaces the other
            defaults.pop(other, None)
    values = {**defaults, **({"per_method": per_method} if per_method else {}), **given}
    if start:
        values |= {"set": start.settings(given), **start.fields}
    try:
        return ContinuedOptions(**values) if start else Options(**values)
    except ValidationError as error:
        first = error.errors()[0]
        option = str(first["loc"][0])
        where = [str(part).replace("_", "-") for part in first["loc"]]
        name = " ".join(where[:3]) if option == "per_method" else f"--{where[0]}"
        origin = f"preset {preset}" if preset else f"run {start.config.run_id}" if start else ""
        source = "" if option in given else f" (from {origin})"
        raise ConfigError(f"{name} {first['input']}{source}: {first['msg'].lower()}.") from error
