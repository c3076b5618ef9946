"""Names for what was measured, such that runs of unlike options never share a name."""

import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

Record = Mapping[str, Any]
NAMED = frozenset({"method", "dataset", "partition", "alpha", "seed", "run_id", "format"})
# Where a run was computed, or a hash behind a name: named only where two runs differ in nothing else.
PLACEMENT = frozenset(
    {
        "backbone_identity",
        "data_identity",
        "data_root",
        "device",
        "executor",
        "partition_file",
        "partition_hash",
        "plugins",
    }
)


class Label(NamedTuple):
    """The names of one run: its method, its group (the setting without the partition), its partition, its setting."""

    method: str
    group: str
    skew: str
    setting: str


def label(
    records: Sequence[Record], without: str | None = None, options: list[dict[str, str]] | None = None
) -> list[Label]:
    """The label of every record, in order; `options`, their flat configurations, where the caller has them.

    A option is named where it differs among the runs of one data set, a method's own option where it differs among
    that method's runs of one setting. An option that some run was given for its method alone (`own_settings`) is such a
    option of its own. `without` names one that never is; a method's variant is then left out as well, as the options
    that it stands for are named.
    """
    options = options or [flat(record.get("config") or {}) for record in records]
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

    def own_option(key: str) -> bool:
        return key in chosen or _own(key)

    datasets = short_names(record["dataset"] for record in records)
    shared = _differing(
        [record["dataset"] for record in records],
        options,
        lambda key: not own_option(key) and key not in NAMED | ignored,
        without,
    )
    settings = []
    for record, values in zip(records, options, strict=True):
        alpha = record.get("alpha")
        skew = record["partition"] if alpha is None else f"{record['partition']}({text(alpha)})"
        dataset, extras = datasets[record["dataset"]], _extras(values, shared)
        settings.append((dataset + extras, skew, f"{dataset} {skew}{extras}"))
    own: dict[str, list[str]] = {}
    for method in {record["method"] for record in records}:
        mine = [i for i, record in enumerate(records) if record["method"] == method]
        own[method] = _differing([settings[i][2] for i in mine], [options[i] for i in mine], own_option, without)
    return [
        Label(record["method"] + _extras(values, own[record["method"]]), *setting)
        for record, values, setting in zip(records, options, settings, strict=True)
    ]


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Every name with its path cut to the shortest tail that no other name shares: `npz:/a/b.npz` is `npz:b`."""
    short: dict[str, str] = {}
    whole = sorted(set(names))
    for depth in range(1, 2 + max((name.count("/") for name in whole), default=0)):
        cut = {name: _tail(name, depth) for name in whole}
        for name, tail in cut.items():
            if name not in short and list(cut.values()).count(tail) == 1:
                short[name] = tail
    return {name: short.get(name, name) for name in whole}


def text(value: object) -> str:
    """A setting's value as a label shows it; the empty string for None."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.12g}"
    if isinstance(value, list | tuple):
        return ",".join(text(item) for item in value)
    return str(value)


def _tail(name: str, depth: int) -> str:
    kind, colon, path = name.rpartition(":")
    return kind + colon + "/".join(path.removesuffix(".npz").split("/")[-depth:])


def _own(key: str) -> bool:
    return key.startswith(("settings.", "versions."))


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Every option of a configuration by its dotted name, as text."""
    found: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = text(value)
    return found


def _differing(
    groups: Sequence[Hashable],
    options: Sequence[Mapping[str, str]],
    wanted: Callable[[str], bool],
    without: str | None,
) -> list[str]:
    """The wanted options, `without` one, that take more than one value within some group."""
    keys = sorted(key for key in set().union(*options) if wanted(key) and key.rpartition(".")[2] != without)
    keys = [key for key in keys if len({values.get(key, "") for values in options}) > 1]  # few are left to compare
    seen: dict[tuple[str, Hashable], set[str]] = defaultdict(set)
    for group, values in zip(groups, options, strict=True):
        for key in keys:
            seen[key, group].add(values.get(key, ""))
    return [key for key in keys if any(len(seen[key, group]) > 1 for group in set(groups))]


def _extras(values: Mapping[str, str], keys: Sequence[str]) -> str:
    leaves = [key.rpartition(".")[2] for key in keys]
    names = [leaf if leaves.count(leaf) == 1 else key for key, leaf in zip(keys, leaves, strict=True)]
    return "".join(f" {name}={values[key]}" for key, name in zip(keys, names, strict=True) if values.get(key))
