"""Reads the configurations of failed runs, in order to run them again."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import ValidationError

from fedprompt.benchmark.config.run_config import RunConfig
from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.runs.store import Store
from fedprompt.results.io import read_json


def failed_runs(
    store: Store, plugins: Sequence[str] = (), unreadable: Callable[[ConfigError], object] | None = None
) -> list[RunConfig]:
    """Returns the configurations of the failed runs of a store.

    Args:
        store: The runs.
        plugins: The plug-in files to use. A plug-in is code, so the files named in a record are never executed; the
            user names them again.
        unreadable: Called for each run whose record or configuration is invalid, which is then left out.

    Raises:
        ConfigError: A plug-in is not named, or without `unreadable`, a record or configuration is invalid.
    """
    files, configs = tuple(os.path.abspath(file) for file in plugins), list[RunConfig]()
    for run_id in (entry.run_id for entry in store.entries(unreadable=unreadable) if entry.status != "done"):
        try:
            config = _config(store, run_id)
        except ConfigError as error:
            if unreadable is None:
                raise
            unreadable(error)
        else:
            configs.append(_with_plugins(config, files))
    return configs


def _config(store: Store, run_id: str) -> RunConfig:
    path = store.directory / run_id / "config.json"
    try:
        config = RunConfig(**read_json(path))
    except (OSError, ValueError, TypeError) as error:
        fault = "is not a valid configuration" if isinstance(error, ValidationError) else "cannot be read"
        raise ConfigError(f"{path} {fault}; delete its directory, and sweep again.") from error
    if config.run_id != run_id:
        raise ConfigError(f"{path} was changed or is from another version: it does not belong to run {run_id}.")
    return config


def _with_plugins(config: RunConfig, plugins: tuple[str, ...]) -> RunConfig:
    names = {Path(file).name for file in plugins}
    if missing := [file for file in config.plugins if Path(file).name not in names]:
        raise ConfigError(
            f"{config.method} of run {config.run_id} needs a plug-in: name it with --plugin {missing[0]}."
        )
    return config.model_copy(update={"plugins": plugins})
