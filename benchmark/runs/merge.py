"""Merges several directories of runs, and exported folders, into one directory."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.runs.sources import Directory, Source, source
from fedprompt.benchmark.runs.store import Entry, Store
from fedprompt.data.errors import reason

MEASURED = (
    *("metrics", "metrics_prior", "metrics_prior_uncalibrated", "temperature", "unscored", "communication"),
    *("parameters", "images", "never_trained"),
)
"""The keys of a record in which two executions of a run must agree; times and hosts are not among them."""


def merge(places: Sequence[Path], out: Path) -> tuple[int, int]:
    """Writes into `out` every run that it lacks. A finished run replaces a failed one.

    Args:
        places: Directories of runs, and folders of `bench export`.
        out: The directory of runs to write; it may have runs already.

    Returns:
        The number of runs written, and the number of runs skipped because they were present already.

    Raises:
        ConfigError: A place is a single exported file, `out` is an exported folder, two records of a run differ in
            their measurements, or a file is a link. Nothing is written then.
        RecordError: An exported folder has no records or cannot be read. Nothing is written then.
    """
    from fedprompt.results.records.files import exported_file

    if out.is_dir() and exported_file(out, "runs"):
        raise ConfigError(f"--out {out} is an exported folder: choose another directory, and name {out} as a source.")
    target, sources = Store(out), [source(place) for place in places]
    present = Directory(out)
    existing: dict[str, tuple[Source, Entry]] = (
        {e.run_id: (present, e) for e in target.entries()} if out.is_dir() else {}
    )
    chosen: dict[str, tuple[Source, Entry]] = {}
    skipped = 0
    for each in sources:
        for entry in each.entries():
            known = chosen.get(entry.run_id) or existing.get(entry.run_id)
            if known is None or _replaces(entry, each.place, known[1], known[0].place):
                chosen[entry.run_id] = (each, entry)
            else:
                skipped += 1
    overrides: dict[str, Any] = {}
    for each in (present, *sources):  # the first that names a run counts
        overrides = {**each.own_settings(), **overrides}
    target.prepare()
    for run_id, (each, _) in chosen.items():
        _write(each, run_id, target)
    if overrides:
        target.add_method_overrides(overrides)
    return len(chosen), skipped


def _replaces(entry: Entry, place: Path, known: Entry, known_place: Path) -> bool:
    """Whether a record replaces the known one. Raises `ConfigError` if their measurements differ."""
    if entry.status != "done" or known.status != "done":
        return entry.status == "done" and known.status != "done"
    if _measurements(entry.result, known.result) != _measurements(known.result, entry.result):
        raise ConfigError(
            f"run {entry.run_id} ({entry.result['method']}, seed {entry.result['seed']}) has different results in "
            f"{place} and {known_place}: find the right one with `bench reproduce`, and delete the other."
        )
    return False


def _measurements(result: dict[str, Any], other: dict[str, Any]) -> str:
    """What two executions must agree in; of the scores, those of groups that both have: later versions score more."""
    groups = other.get("metrics") or {}
    shared = {group: values for group, values in (result.get("metrics") or {}).items() if group in groups}
    return json.dumps({key: result.get(key) for key in MEASURED} | {"metrics": shared}, sort_keys=True)


def _write(source: Source, run_id: str, target: Store) -> None:
    temporary = target.temporary_folder(run_id)
    try:
        temporary.mkdir()
        source.write(run_id, temporary)
        target.install(temporary, run_id)
    except OSError as error:
        raise ConfigError(f"run {run_id} cannot be written: {reason(error)}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
