"""What the user asked for, checked (`Options`), and the runs that follow from it (`RunConfig`, one a cell and seed)."""

import difflib
import os
from collections.abc import Callable, Mapping
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError

from fedprompt.benchmark.backbone.weights import EMBEDDED, identity
from fedprompt.benchmark.config.method_overrides import LocalTrainingOptions, MethodOverrides, read_own, recipe, without
from fedprompt.benchmark.config.partition_options import FIELDS, PartitionOptions, still_used
from fedprompt.benchmark.errors import ConfigError
from fedprompt.data import loading as datasets
from fedprompt.data.partitions.settings import PartitionSettings
from fedprompt.methods import registry as methods
from fedprompt.results.records.identity import run_id as identity_of

RECORD_FORMAT = 1
PRESETS = Path(__file__).parent / "presets"
TRIALS = "tuning"  # the part of a preset in which `bench tune` keeps what it tried; nothing is read from it


class RunSettings(LocalTrainingOptions, PartitionOptions):
    """Settings that a run has one of, and that a grid does not vary. Defaults are those of the embedded default."""

    participation: Annotated[float, Field(gt=0, le=1, description="share of the seen clients in each round")] = 0.25
    rounds: Annotated[int, Field(ge=1, description="rounds of training")] = 8
    eval_every: Annotated[int, Field(ge=1, description="rounds between evaluations of all clients")] = 4
    adapt_epochs: Annotated[int, Field(ge=0, description="local epochs of held-out clients before one more score")] = 0
    backbone: str = Field(EMBEDDED, description="the embedded ViT, or any plain ViT of timm")
    checkpoint: str | None = Field(None, description="weights file for the backbone; 'random' for none at all")
    image_size: Annotated[int | None, Field(ge=8, description="side of the images (default: the backbone's)")] = None
    patch_size: Annotated[int | None, Field(ge=1, description="patch size (default: the backbone's)")] = None
    normalize: Literal["backbone", "imagenet", "half", "none"] = Field(
        "backbone", description="mean and deviation that images are normalised with, for all methods alike"
    )
    skip_corrupt: bool = Field(False, description="leave unreadable images out, and count them")
    data_root: str | None = Field(None, description="folder that data sets are kept in")
    device: str = Field("cpu", description="cpu, cuda or cuda:N")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "fp32", description="of the frozen blocks; auto: bf16 where it is measured faster, settled before the first run"
    )
    executor: Literal["auto", "sequential", "threaded", "fused"] = Field(
        "auto", description="how a cohort is computed: clients one by one, side by side in threads, or in one pass"
    )


class RunConfig(RunSettings):
    """One run, resolved: method with every field's value, data set, heterogeneity and seed."""

    method: str
    settings: dict[str, dict[str, Any]]
    versions: dict[str, int]
    dataset: str
    data_identity: str
    backbone_identity: str
    alpha: float | None
    partition_hash: str | None
    seed: int
    plugins: tuple[str, ...] = ()

    @cached_property
    def run_id(self) -> str:
        """The content hash that names the run: of everything that its result depends on."""
        return identity_of(self.model_dump(), RECORD_FORMAT)

    @property
    def federation(self) -> PartitionSettings:
        """How the data set is spread over clients."""
        return self.settings_at(self.alpha, self.partition_hash)


class Options(RunSettings):
    """A grid of runs: the shared settings, and lists over which it spreads."""

    methods: tuple[str, ...] = Field(("all",), description="names, wildcards or 'all'")
    datasets: tuple[str, ...] = Field(("digits",), description="data sets")
    alpha: tuple[float, ...] | None = Field(None, description="Dirichlet concentrations, small is skewed")
    seeds: tuple[int, ...] = Field((0, 1, 2), description="seeds, one run each")
    set: tuple[str, ...] = Field((), description="METHOD.FIELD=VALUE")
    plugin: tuple[str, ...] = Field((), description="Python files with methods of your own")
    per_method: dict[str, MethodOverrides] = Field(
        {}, description="settings that one method has to itself; of presets alone"
    )

    def grid(self, identify: Callable[[str, Path | None, bool], str] | None = None) -> list[RunConfig]:
        """Every run of the grid, cell by cell; raises the error of whatever setting is wrong.

        `identify` gives a data set's identity; a plan passes one that knows data sets which are not here.
        """
        for file in self.plugin:
            methods.load_plugin(file)
        settings = methods.parse_settings(self.set)
        recipes = [recipe(name, settings, self.per_method.get(name)) for name in methods.expand(self.methods)]
        for name, own in self.per_method.items():
            recipe(name, {}, own)  # a misspelt name would leave its method untuned
        unused = settings.keys() - {part for made in recipes for part in made.settings}
        if unused:
            raise ConfigError(f"--set {sorted(unused)[0]}.…: that method is not in this grid; add it to --methods.")
        root = None if self.data_root is None else Path(self.data_root)
        shared = {name: getattr(self, name) for name in RunSettings.model_fields}
        shared["backbone_identity"] = identity(self.backbone, self.checkpoint)
        shared["plugins"] = tuple(os.path.abspath(file) for file in self.plugin)
        named = dict.fromkeys(self.datasets)
        identities = {name: (identify or datasets.identity)(name, root, self.skip_corrupt) for name in named}
        spreads = [self.settings_at(alpha) for alpha in dict.fromkeys(self.alpha or (None,))]
        return [
            RunConfig(
                **shared
                | {"partition": spread.kind}
                | {name: getattr(spread, name) for name in FIELDS}
                | (self.per_method[made.name].training if made.name in self.per_method else {}),
                method=made.name,
                settings=made.settings,
                versions=made.versions,
                dataset=dataset,
                data_identity=identities[dataset],
                seed=seed,
            )
            for dataset, spread, made, seed in product(named, spreads, recipes, dict.fromkeys(self.seeds))
        ]


def options(given: Mapping[str, Any], preset: str | None = None) -> Options:
    """Options from the command line (which wins), a preset, and the defaults. Raises `ConfigError`."""
    values = {**(still_used(read_preset(preset), given) if preset else {}), **given}
    if own := values.get("per_method"):
        values["per_method"] = {method: without(settings, given) for method, settings in own.items()}
    try:
        return Options(**values)
    except ValidationError as error:
        at_fault = str(error.errors()[0]["loc"][0])
        raise ConfigError(_plain(error, f" (from preset {preset})" if at_fault not in given else "")) from error


def preset_names() -> list[str]:
    """The presets that come with the package."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def read_preset(name: str) -> dict[str, Any]:
    """The settings of a preset, by its name or from a YAML file. Raises `ConfigError`."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else PRESETS / f"{name}.yaml"
    if not path.is_file():
        raise ConfigError(f"unknown preset {name!r}; available: {', '.join(preset_names())}, or a FILE.yaml.")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"preset {path} is not YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"preset {path} must be a mapping of options to values, as in 'rounds: 20'.")
    values = {}
    for key, value in content.items():
        if key == TRIALS:
            continue
        field = str(key).replace("-", "_")
        if field not in Options.model_fields:
            close = difflib.get_close_matches(field, Options.model_fields, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise ConfigError(f"preset {path} sets an unknown option {key!r}{hint}.")
        if field == "per_method":
            value = read_own(value, str(path))
        if field in {"methods", "datasets", "alpha", "seeds", "set", "plugin"} and not isinstance(value, list):
            split = isinstance(value, str) and field not in {"set", "plugin"}
            value = [word.strip() for word in value.split(",")] if split else [value]
        values[field] = value
    return values


def _plain(error: ValidationError, source: str) -> str:
    first = error.errors()[0]
    where = [str(part).replace("_", "-") for part in first["loc"]]
    name = " ".join(where[:3]) if where[0] == "per-method" else f"--{where[0]}"
    return f"{name} {first['input']}{source}: {first['msg'].lower()}."
