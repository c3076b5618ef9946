"""Presets: YAML files of options, shipped with the package or written by users and `bench tune`."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml

from fedprompt.benchmark.config.method_overrides import read_overrides
from fedprompt.benchmark.errors import ConfigError, did_you_mean

PRESETS = Path(__file__).parent / "presets"
TRIALS = "tuning"  # where `bench tune` records its trials; ignored when a preset is read
LISTS = ("methods", "datasets", "alpha", "seeds", "set", "plugin")  # options with several values
WHOLE_TEXTS = ("set", "plugin")  # lists whose texts may contain commas


def preset_names() -> list[str]:
    """Returns the names of the presets that come with the package."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def read_preset(name: str, known: Collection[str]) -> dict[str, Any]:
    """Reads the options of a preset.

    Args:
        name: a name of `preset_names`, or the path of a YAML file.
        known: the options that a preset may set.

    Raises:
        ConfigError: there is no such preset, it is not a YAML mapping, or it sets an unknown option.
    """
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
        if field not in known:
            raise ConfigError(f"preset {path} sets an unknown option {key!r}{did_you_mean(field, known)}.")
        if field == "per_method":
            value = read_overrides(value, str(path))
        if field in LISTS and not isinstance(value, list):
            split = isinstance(value, str) and field not in WHOLE_TEXTS
            value = [word.strip() for word in value.split(",")] if split else [value]
        values[field] = value
    return values
