"""Reads the configurations of failed runs, in order to run them again."""

import os
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from fedprompt.benchmark.config.run_config import RunConfig
from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.runs.store import Store
from fedprompt.results.io import read_json


def failed_runs(store: Store, plugins: Sequence[str] = ()) -> list[RunConfig]:
    """Returns the configurations of the failed runs of a store.

    Args:
        store: The runs.
        plugins: The plug-in files to use. A plug-in is code, so the files named in a record are never executed; the
            user names them again.

    Raises:
        ConfigError: A plug-in is not named, or a configuration is invalid or does not match its run id.
    """
    files = tuple(os.path.abspath(file) for file in plugins)
    return [_config(store, entry.run_id, files) for entry in store.entries() if entry.status != "done"]


def _config(store: Store, run_id: str, plugins: tuple[str, ...]) -> RunConfig:
    path = store.directory / run_id / "config.json"
    try:
        config = RunConfig(**read_json(path))
    except (OSError, ValueError, TypeError) as error:
        fault = "is not a valid configuration" if isinstance(error, ValidationError) else "cannot be read"
        raise ConfigError(f"{path} {fault}; delete its directory, and sweep again.") from error
    if config.run_id != run_id:
        raise ConfigError(f"{path} was changed or is from another version: it does not belong to run {run_id}.")
    names = {Path(file).name for file in plugins}
    if missing := [file for file in config.plugins if Path(file).name not in names]:
        raise ConfigError(f"{config.method} of run {run_id} needs a plug-in: name it with --plugin {missing[0]}.")
    return config.model_copy(update={"plugins": plugins})
