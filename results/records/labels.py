"""Names of methods and settings; runs with different options never have the same name."""

import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from fedprompt.results.records.identity import LATER_OPTIONS, NOT_HASHED

Record = Mapping[str, Any]
NAMED = frozenset({"method", "dataset", "partition", "alpha", "seed", "run_id", "format"})
# Where a run was computed, or a hash of something already named: shown only if two runs differ in nothing else.
PLACEMENT = frozenset(
    NOT_HASHED - {"checkpoint"} | {"backbone_identity", "data_identity", "partition_hash", "from_run", "from_hash"}
)
CONTINUED = "continued"
"""Shown of a run that has started from the model of another, whose run id differs for each method and seed."""
OF_OPTIMIZER = ("momentum", "beta1", "beta2", "eps")


class Label(NamedTuple):
    """The names of one run: its method, its group (the setting without the partition), its partition, its setting."""

    method: str
    group: str
    skew: str
    setting: str


def label(
    records: Sequence[Record], without: str | None = None, options: list[dict[str, str]] | None = None
) -> list[Label]:
    """The labels of the records, in order.

    A setting's name shows an option if the runs of one data set differ in it. A method's name shows an option of the
    method itself, or one chosen for some method alone (`own_settings`), if its runs of one setting differ in it.
    `without` is an option that is never shown; variants of methods, which stand for options, are then left out, too.
    `options` are the flat configurations of the records, if already computed.
    """
    options = options or [flat(record.get("config") or {}) for record in records]
    earlier = flat(LATER_OPTIONS)
    options = [{**earlier, **values, CONTINUED: "yes" if values.get("from_run") else ""} for values in options]
    if without is not None:
        records = [{**record, "method": re.sub(r":[^+]*", "", record["method"])} for record in records]
        return _label(records, options, PLACEMENT, without)
    labels = _label(records, options, PLACEMENT)
    runs = [(name.method, name.setting, record["seed"]) for name, record in zip(labels, records, strict=True)]
    return labels if len(set(runs)) == len(runs) else _label(records, options, frozenset())


def _label(
    records: Sequence[Record], options: list[dict[str, str]], ignored: frozenset[str], without: str | None = None
) -> list[Label]:
    chosen = {key for record in records for key in (record.get("own_settings") or {}).get("options", ())}

    def of_method(key: str) -> bool:
        return key in chosen or key.startswith(("settings.", "versions."))

    def of_setting(key: str) -> bool:
        return not of_method(key) and key not in NAMED | ignored

    datasets = short_names(record["dataset"] for record in records)
    shown = _differing([record["dataset"] for record in records], options, of_setting, without)
    settings = []
    for record, values in zip(records, options, strict=True):
        alpha = record.get("alpha")
        skew = record["partition"] if alpha is None else f"{record['partition']}({as_text(alpha)})"
        dataset, suffix = datasets[record["dataset"]], _suffix(values, shown)
        settings.append((dataset + suffix, skew, f"{dataset} {skew}{suffix}"))
    shown_by_method: dict[str, list[str]] = {}
    for method in {record["method"] for record in records}:
        rows = [row for row, record in enumerate(records) if record["method"] == method]
        groups, values_of = [settings[row][2] for row in rows], [options[row] for row in rows]
        shown_by_method[method] = _differing(groups, values_of, of_method, without)
    return [
        Label(record["method"] + _suffix(values, shown_by_method[record["method"]]), *setting)
        for record, values, setting in zip(records, options, settings, strict=True)
    ]


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Each name with its path shortened to the shortest unique tail: `npz:/a/b.npz` is `npz:b`."""
    short: dict[str, str] = {}
    names = sorted(set(names))
    for depth in range(1, 2 + max((name.count("/") for name in names), default=0)):
        tails = {name: _tail(name, depth) for name in names}
        for name, tail in tails.items():
            if name not in short and list(tails.values()).count(tail) == 1:
                short[name] = tail
    return {name: short.get(name, name) for name in names}


def _tail(name: str, depth: int) -> str:
    kind, colon, path = name.rpartition(":")
    return kind + colon + "/".join(path.removesuffix(".npz").split("/")[-depth:])


def as_text(value: object) -> str:
    """The value of an option as a label shows it; "" for None."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.12g}"
    if isinstance(value, list | tuple):
        return ",".join(as_text(item) for item in value)
    return str(value)


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """All options of a nested configuration by dotted name, as text."""
    options: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            options |= flat(value, f"{prefix}{key}.")
        else:
            options[prefix + key] = as_text(value)
    return options


def _differing(
    groups: Sequence[Hashable], options: Sequence[Mapping[str, str]], wanted: Callable[[str], bool], without: str | None
) -> list[str]:
    """The wanted options, except `without`, that have more than one value within some group.

    An option of some local optimizers only is compared between runs with the same optimizer: the name of the optimizer
    already distinguishes the others.
    """
    keys = sorted(key for key in set().union(*options) if wanted(key) and key.rpartition(".")[2] != without)
    keys = [key for key in keys if len({values.get(key, "") for values in options}) > 1]  # fast: leaves few to compare
    seen: dict[tuple[str, Hashable], set[str]] = defaultdict(set)
    for group, values in zip(groups, options, strict=True):
        for key in keys:
            optimizer = values.get("optimizer") if key in OF_OPTIMIZER else None
            seen[key, (group, optimizer)].add(values.get(key, ""))
    return [key for key in keys if any(len(found) > 1 for (name, _), found in seen.items() if name == key)]


def _suffix(values: Mapping[str, str], keys: Sequence[str]) -> str:
    leaves = [key.rpartition(".")[2] for key in keys]
    names = [leaf if leaves.count(leaf) == 1 else key for key, leaf in zip(keys, leaves, strict=True)]
    return "".join(f" {name}={values[key]}" for key, name in zip(keys, names, strict=True) if values.get(key))
