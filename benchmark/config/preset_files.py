"""Presets: YAML files of options, shipped with the package or written by users and `bench tune`."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from fedprompt.benchmark.config.lists import LISTS, NUMBERS, parse_list
from fedprompt.benchmark.config.method_overrides import read_overrides
from fedprompt.benchmark.errors import ConfigError, did_you_mean
from fedprompt.results.io import read_yaml, reason

PRESETS = Path(__file__).parent / "presets"
TRIALS = "tuning"  # where `bench tune` records its trials; ignored when a preset is read


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
        names = preset_names()
        hint = did_you_mean(name, names)
        raise ConfigError(f"unknown preset {name!r}{hint}; available: {', '.join(names)}, or a FILE.yaml.")
    try:
        content = read_yaml(path)
    except OSError as error:
        raise ConfigError(f"preset {path} cannot be read: {reason(error)}.") from error
    except ValueError as error:
        raise ConfigError(f"preset {path} is not YAML, {error}.") from error
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
        values[field] = _list(field, value, path) if field in LISTS else value
    return values


def _list(field: str, value: Any, path: Path) -> list[Any]:
    """The values of a list option, which a preset may give as a YAML list, as one value or as one text with commas."""
    items = value if isinstance(value, list) else [value]
    if isinstance(value, list) and field not in NUMBERS:
        return items
    try:
        return [part for item in items for part in (parse_list(field, [item]) if isinstance(item, str) else [item])]
    except ConfigError as error:
        raise ConfigError(f"preset {path}: {error}") from error
