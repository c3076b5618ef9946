"""The failed runs of a directory, as they were configured."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from fedprompt.benchmark.config.run_config import RunConfig
from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.runs.store import Store


def failed_runs(store: Store, plugins: Sequence[str] = ()) -> list[RunConfig]:
    """The configurations of the runs that failed, from their records, to be run with these `plugins`.

    A plug-in is code, so the files that a record names are never run: the user names them again. Raises `ConfigError`
    where one is not named, and for a configuration that is not the one that its run is named by.
    """
    files = tuple(os.path.abspath(file) for file in plugins)
    return [_config(store, entry.run_id, files) for entry in store.entries() if entry.status != "done"]


def _config(store: Store, run_id: str, plugins: tuple[str, ...]) -> RunConfig:
    path = store.directory / run_id / "config.json"
    try:
        config = RunConfig(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        what = "holds no configuration" if isinstance(error, ValidationError) else "cannot be read"
        raise ConfigError(f"{path} {what}; delete its directory, and sweep again.") from error
    if config.run_id != run_id:
        raise ConfigError(f"{path} was changed, or is of another version: it is not the configuration of {run_id}.")
    names = {Path(file).name for file in plugins}
    if absent := [file for file in config.plugins if Path(file).name not in names]:
        raise ConfigError(f"{config.method} of {run_id} came with a plug-in: name it with --plugin {absent[0]}.")
    return config.model_copy(update={"plugins": plugins})
