"""The `bench sweep` lines that make a set of runs again, from their configurations."""

import json
import shlex
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from fedprompt.benchmark.config.run_config import RunSettings
from fedprompt.methods import registry
from fedprompt.methods.errors import MethodError
from fedprompt.results.records.identity import LATER_OPTIONS

VARIED = ("method", "dataset", "alpha", "seed")
DERIVED = ("data_identity", "backbone_identity", "partition_hash", "versions", "settings", "plugins", "data_root")
Cell = tuple[str, str, float | None, int]  # method, data set, alpha and seed of a run


def sweep_commands(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line per group of runs that one sweep makes, without the options that have their default.

    Args:
        configs: The configurations of the runs, as JSON.
    """
    lines = []
    for words, cells in _groups(configs):
        for methods, datasets, alphas, seeds in _grids(cells):
            grid = ["--methods", ",".join(methods), "--datasets", ",".join(datasets)]
            grid += ["--alpha", ",".join(f"{alpha:g}" for alpha in alphas)] if alphas != [None] else []
            lines.append(shlex.join(["bench", "sweep", *grid, "--seeds", ",".join(map(str, seeds)), *words]))
    return lines


def _groups(configs: Sequence[Mapping[str, Any]]) -> list[tuple[list[str], list[Cell]]]:
    """The runs by their options. Runs of one method with other values are in another group."""
    groups: list[tuple[list[str], dict[str, str], list[Cell]]] = []
    for config in configs:
        words, fields = _words(config), _fields(config)
        fitting = (group for group in groups if group[0] == words and _agree(group[1], fields))
        if (group := next(fitting, None)) is None:
            groups.append(group := (words, {}, []))
        group[1].update(fields)
        group[2].append((config["method"], config["dataset"], config.get("alpha"), config["seed"]))
    return [([*words, *_set(fields)], cells) for words, fields, cells in groups]


def _agree(known: Mapping[str, str], fields: Mapping[str, str]) -> bool:
    return all(known.get(name, value) == value for name, value in fields.items())


def _set(fields: Mapping[str, str]) -> list[str]:
    return [word for name, value in sorted(fields.items()) if value for word in ("--set", f"{name}={value}")]


def _words(config: Mapping[str, Any]) -> list[str]:
    """The options of a run that have another value than the default, and its plug-ins."""
    words = []
    for name, value in sorted({**LATER_OPTIONS, **config}.items()):
        field = RunSettings.model_fields.get(name)
        plain = json.loads(json.dumps(field.default, default=str)) if field else None
        if name in (*VARIED, *DERIVED) or value is None or value is False or value == plain:
            continue
        option = f"--{name.replace('_', '-')}"
        words += [option] if value is True else [option, _text(value)]
    for plugin in config.get("plugins") or ():
        words += ["--plugin", str(plugin)]
    return words


def _fields(config: Mapping[str, Any]) -> dict[str, str]:
    """The hyperparameters of a run by `OWNER.FIELD`: their value, or "" for the default of this version."""
    try:
        defaults: Mapping[str, Mapping[str, Any]] = registry.create(config["method"]).settings
    except MethodError:  # of a plug-in that is not loaded: all values are named
        defaults = {}
    return {
        f"{owner}.{name}": "" if name in defaults.get(owner, {}) and defaults[owner][name] == value else _text(value)
        for owner, fields in (config.get("settings") or {}).items()
        for name, value in fields.items()
    }


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value)


def _grids(cells: Sequence[Cell]) -> list[tuple[list[str], list[str], list[float | None], list[int]]]:
    """The cells as grids: first all together, then the methods that share their other values, then smaller ones."""
    whole = _axes(cells)
    if len(set(cells)) == len(list(product(*whole))):
        return [whole]
    by_method: dict[str, set[Cell]] = {}
    for cell in cells:
        by_method.setdefault(cell[0], set()).add(("", *cell[1:]))
    parts: dict[frozenset[Cell], list[Cell]] = {}
    for cell in cells:
        parts.setdefault(frozenset(by_method[cell[0]]), []).append(cell)
    if len(parts) == 1:  # not a grid for any method: one for each data set and alpha, or each seed
        named = {cell[1:3] for cell in cells}
        smaller = [[cell for cell in cells if cell[1:3] == name] for name in sorted(named, key=str)]
        if len(named) == 1:
            smaller = [[cell for cell in cells if cell[3] == seed] for seed in sorted({cell[3] for cell in cells})]
        return [grid for part in smaller for grid in _grids(part)]
    return [grid for part in parts.values() for grid in _grids(part)]


def _axes(cells: Sequence[Cell]) -> tuple[list[str], list[str], list[float | None], list[int]]:
    methods, datasets, alphas, seeds = (list(dict.fromkeys(values)) for values in zip(*cells, strict=True))
    return sorted(methods), sorted(datasets), sorted(alphas, key=lambda a: -1 if a is None else a), sorted(seeds)
