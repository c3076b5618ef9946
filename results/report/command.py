"""The command line that repeats a run."""

import json
import math
import shlex
from collections.abc import Mapping
from functools import lru_cache
from pathlib import PurePath
from typing import Any

from fedprompt.results.records.identity import LATER_OPTIONS

# Derived from other options, or written in another way.
DERIVED = (
    *("data_identity", "backbone_identity", "partition_hash", "settings", "versions", "plugins"),
    *("from_run", "from_hash", "from_model"),
)
FIRST = ("method", "dataset", "partition", "alpha", "seed")


def command(config: Mapping[str, Any]) -> str:
    """The `bench run` line of a recorded configuration, quoted for a shell.

    Names every option, defaults included: another version may have other defaults. Options that older records lack
    have their earlier values.
    """
    config = {**LATER_OPTIONS, **config}
    words = ["bench", "run"]
    for key in (*(key for key in FIRST if key in config), *sorted(config.keys() - set(FIRST))):
        value, option = config[key], f"--{key.replace('_', '-')}"
        if key in DERIVED or value is None or value is False:
            continue
        if key == "held_out" and isinstance(value, float) and value >= 1 and value.is_integer():
            value = int(value)  # 1.0 is refused: it reads as a share
        words += [option] if value is True else [option, _text(value)]
    if config["from_model"]:
        words += ["--from", str(PurePath(config["from_model"]).parent)]
    for owner, fields in (config.get("settings") or {}).items():
        for field, value in fields.items():
            words += ["--set", f"{owner}.{field}={_text(value)}"]
    for plugin in config.get("plugins") or ():
        words += ["--plugin", str(plugin)]
    return " ".join(map(_quoted, words))


_quoted = lru_cache(maxsize=10_000)(shlex.quote)  # thousands of runs share most words


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return repr(value) if type(value) is float and math.isfinite(value) else json.dumps(value)
