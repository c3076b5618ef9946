"""Writes the folder of a submission: tables, metadata, a README with a checklist, and a repeated sample of runs."""

import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.runs.reproduce import config_of, entry_of, reproduce
from fedprompt.benchmark.sharing.commands import sweep_commands
from fedprompt.data.errors import DataError, reason
from fedprompt.methods.errors import MethodError
from fedprompt.results.io import atomic_write
from fedprompt.results.records import croissant
from fedprompt.results.records.export import export_folder
from fedprompt.results.records.files import exported_file
from fedprompt.results.records.frames import Runs, load
from fedprompt.results.submission.facts import facts
from fedprompt.results.submission.readme import Repeated, render
from fedprompt.results.tables import leaderboard as tables

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
PUBLISHED = Path("results/published")
Say = Callable[[str], object]


def submit(
    directory: Path,
    target: Path,
    sample: int,
    generator: np.random.Generator,
    plugins: Sequence[str] = (),
    data_root: str | None = None,
    say: Say = lambda _: None,
) -> list[Repeated]:
    """Writes the folder of a submission completely or not at all.

    Args:
        directory: A directory of runs.
        target: The folder to write; it may exist if it is empty.
        sample: The number of finished runs that are repeated and compared.
        generator: Chooses the sample.
        plugins: Plug-in files that runs of the sample may need.
        data_root: The folder of the data sets, if it has moved.
        say: Called with a line about what is done.

    Returns:
        The repeated runs.

    Raises:
        ConfigError: The target is not empty or cannot be written, or the directory is an exported folder.
        RecordError: There are no runs, a record cannot be read, or no run is finished.
    """
    check_target(target)
    if exported_file(directory, "runs"):
        raise ConfigError(
            f"{directory} is an exported folder: name the directory of runs, or the one that `bench merge {directory} "
            "--out DIR` makes of it."
        )
    read = Runs(directory)
    found = facts(read)
    repeated = _repeat(read, sample, generator, plugins, data_root, say)
    folder = target.with_name(f".{target.name}-{os.getpid()}")
    commands = sweep_commands([record["config"] for record in read.records])
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        export_folder(directory, folder)
        _write_tables(folder)
        atomic_write(folder / "README.md", render(target.name, found, commands, repeated))
        atomic_write(folder / "croissant.json", _metadata(folder, target.name))
        os.replace(folder, target)
    except OSError as error:
        raise ConfigError(f"{target} cannot be written: {reason(error)}; choose another folder with --out.") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return repeated


def target_of(out: Path | None, name: str | None, directory: Path) -> Path:
    """The folder of a submission: `out`, or `results/published/NAME`; the name is by default that of the directory.

    Raises:
        ConfigError: The name is not a plain name of a folder.
    """
    name = name or (out or directory).resolve().name
    if not NAME.fullmatch(name):
        raise ConfigError(f"--name {name}: use letters, digits, dots, dashes and underscores, as in --name my-study.")
    return PUBLISHED / name if out is None else out


def check_target(target: Path) -> None:
    """Raises `ConfigError` unless the folder can be created or is empty."""
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise ConfigError(f"{target} exists and is not empty: choose another folder with --out or --name.")
    except OSError as error:
        raise ConfigError(f"{target} cannot be read: {reason(error)}; choose another folder with --out.") from error


def _repeat(
    read: Runs, sample: int, generator: np.random.Generator, plugins: Sequence[str], data_root: str | None, say: Say
) -> list[Repeated]:
    """Repeats a sample of the finished runs, in the order of the tables."""
    done = read.done
    chosen = sorted(generator.choice(len(done), size=min(sample, len(done)), replace=False).tolist())
    repeated = []
    for number, place in enumerate(chosen, 1):
        row = done.iloc[place]
        say(f"repeating run {number} of {len(chosen)}: {row['method']} in {row['setting']}, seed {row['seed']}")
        same, outcome = _outcome(read.directory / row["run_id"], plugins, data_root)
        repeated.append(Repeated(row["run_id"], row["method"], row["setting"], int(row["seed"]), same, outcome))
    return repeated


def _outcome(place: Path, plugins: Sequence[str], data_root: str | None) -> tuple[bool | None, str]:
    try:
        entry = entry_of(place)
        comparison = reproduce(entry, place, config_of(entry, plugins, data_root), lambda *_: None)
    except (ConfigError, DataError, MethodError) as error:
        return None, f"not repeated: {error}"
    return not comparison.numbers, comparison.outcome


def _write_tables(folder: Path) -> None:
    """The default table of the runs, as `bench table` prints it."""
    runs = load(folder)
    for kind, intervals in (("md", False), ("csv", True)):
        board = tables.leaderboard(runs, tables.default_metrics(runs), intervals=intervals)
        atomic_write(folder / f"table.{kind}", tables.render(board, kind))


def _metadata(folder: Path, name: str) -> str:
    """croissant.json with the name, the licence and the authors of a published folder."""
    import pandas as pd

    frames = {what: pd.read_parquet(folder / f"{what}.parquet") for what in ("runs", "rounds", "clients")}
    content = croissant.metadata(folder, frames, terms=croissant.published_terms())
    return croissant.as_text(content | {"name": name})
