"""Several directories of runs as one: identical runs once, conflicting ones refused by name."""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.runs.store import Entry, Store

FILES = ("config.json", "result.json", "rounds.parquet", "clients.parquet", "log.txt")
MEASURED = ("metrics", "metrics_prior", "communication", "parameters", "never_trained")
"""What two records of one run must agree on."""


def measured(result: dict[str, Any]) -> str:
    """What a record says was measured, comparable; times and places are no part of it."""
    return json.dumps({key: result.get(key) for key in MEASURED}, sort_keys=True)


def merge(sources: Sequence[Path], out: Path) -> tuple[int, int]:
    """Copies into `out` every run that it lacks; returns how many were copied, and how many it had already.

    A finished run takes the place of a failed one. Raises `ConfigError`, with nothing copied, where two records of a
    run differ in what they measured.
    """
    target = Store(out)
    held = {entry.run_id: (out, entry) for entry in (target.entries() if out.is_dir() else [])}
    chosen: dict[str, tuple[Path, Entry]] = {}
    had = 0
    for source in sources:
        for entry in Store(source).entries():
            _check_files(source / entry.run_id)
            known = chosen.get(entry.run_id) or held.get(entry.run_id)
            if known is not None and not _better(entry, *known, source):
                had += 1
                continue
            chosen[entry.run_id] = (source, entry)
    marks = _marks([out, *sources])
    target.prepare()
    for run_id, (source, _) in chosen.items():
        _copy(source / run_id, target)
    if marks:
        target.note_own(marks)
    return len(chosen), had


def _marks(places: Sequence[Path]) -> dict[str, Any]:
    """What sweeps noted of their runs' own settings, the first place's word for a run counting."""
    from fedprompt.results.records.files import own_settings

    marks: dict[str, Any] = {}
    for place in places:
        marks = {**own_settings(place), **marks}
    return marks


def _better(entry: Entry, place: Path, known: Entry, source: Path) -> bool:
    """Whether a record is to replace the one known. Raises `ConfigError` where they contradict each other."""
    if entry.status != "done" or known.status != "done":
        return entry.status == "done" and known.status != "done"
    if measured(entry.result) != measured(known.result):
        raise ConfigError(
            f"run {entry.run_id} ({entry.result['method']}, seed {entry.result['seed']}) has other numbers in {source} "
            f"than in {place}: see `bench reproduce` for which is right, and `bench prune` or delete the other."
        )
    return False


def _check_files(folder: Path) -> None:
    """Refuses links: what they point at is not of the directory that is merged."""
    for path in (folder, *(folder / name for name in FILES)):
        if path.is_symlink():
            raise ConfigError(f"{path} is a link; a directory of runs holds files only.")


def _copy(folder: Path, target: Store) -> None:
    place, unfinished = target.directory / folder.name, target.unfinished_place(folder.name)
    try:
        unfinished.mkdir()
        for name in FILES:
            if (folder / name).is_file():
                shutil.copyfile(folder / name, unfinished / name)
        if place.exists():
            shutil.rmtree(place)
        os.replace(unfinished, place)
    except OSError as error:
        raise ConfigError(f"run {folder.name} cannot be copied: {(error.strerror or str(error)).lower()}.") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
