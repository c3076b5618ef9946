"""Merges several directories of runs into one."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.runs.store import MODEL, Entry, Store
from fedprompt.data.errors import reason

FILES = ("config.json", "result.json", "rounds.parquet", "clients.parquet", "log.txt", MODEL)
MEASURED = (
    *("metrics", "metrics_prior", "metrics_prior_uncalibrated", "temperature", "unscored", "communication"),
    *("parameters", "images", "never_trained"),
)
"""The keys of a record in which two executions of a run must agree; times and hosts are not among them."""


def merge(sources: Sequence[Path], out: Path) -> tuple[int, int]:
    """Copies into `out` every run that it lacks. A finished run replaces a failed one.

    Returns:
        The number of runs copied, and the number of runs skipped because they were present already.

    Raises:
        ConfigError: A source is an exported folder, two records of a run differ in their measurements, or a file is a
            link. Nothing is copied then.
    """
    from fedprompt.results.records.files import exported_file

    target = Store(out)
    existing = {entry.run_id: (out, entry) for entry in (target.entries() if out.is_dir() else [])}
    chosen: dict[str, tuple[Path, Entry]] = {}
    skipped = 0
    for source in sources:
        if exported_file(source, "runs"):
            raise ConfigError(
                f"{source} has tables but no records: merge the directories of runs, and export the result."
            )
        for entry in Store(source).entries():
            _check_files(source / entry.run_id)
            known = chosen.get(entry.run_id) or existing.get(entry.run_id)
            if known is None or _replaces(entry, source, *known):
                chosen[entry.run_id] = (source, entry)
            else:
                skipped += 1
    overrides = _method_overrides([out, *sources])
    target.prepare()
    for run_id, (source, _) in chosen.items():
        _copy(source / run_id, target)
    if overrides:
        target.add_method_overrides(overrides)
    return len(chosen), skipped


def _method_overrides(directories: Sequence[Path]) -> dict[str, Any]:
    """Returns which runs were configured per method; the first directory that names a run counts."""
    from fedprompt.results.records.files import own_settings

    overrides: dict[str, Any] = {}
    for directory in directories:
        overrides = {**own_settings(directory), **overrides}
    return overrides


def _replaces(entry: Entry, source: Path, known_source: Path, known: Entry) -> bool:
    """Whether a record replaces the known one. Raises `ConfigError` if their measurements differ."""
    if entry.status != "done" or known.status != "done":
        return entry.status == "done" and known.status != "done"
    if _measurements(entry.result, known.result) != _measurements(known.result, entry.result):
        raise ConfigError(
            f"run {entry.run_id} ({entry.result['method']}, seed {entry.result['seed']}) has different results in "
            f"{source} and {known_source}: find the right one with `bench reproduce`, and delete the other."
        )
    return False


def _measurements(result: dict[str, Any], other: dict[str, Any]) -> str:
    """What two executions must agree in; of the scores, those of groups that both have: later versions score more."""
    groups = other.get("metrics") or {}
    shared = {group: values for group, values in (result.get("metrics") or {}).items() if group in groups}
    return json.dumps({key: result.get(key) for key in MEASURED} | {"metrics": shared}, sort_keys=True)


def _check_files(folder: Path) -> None:
    """Raises `ConfigError` for links, whose targets may be outside the directory."""
    for path in (folder, *(folder / name for name in FILES)):
        if path.is_symlink():
            raise ConfigError(f"{path} is a link; a directory of runs may only contain files.")


def _copy(folder: Path, target: Store) -> None:
    temporary = target.temporary_folder(folder.name)
    try:
        temporary.mkdir()
        for name in FILES:
            if (folder / name).is_file():
                shutil.copyfile(folder / name, temporary / name)
        target.install(temporary, folder.name)
    except OSError as error:
        raise ConfigError(f"run {folder.name} cannot be copied: {reason(error)}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
