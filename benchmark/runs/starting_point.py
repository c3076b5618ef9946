"""Finds the run that `bench run --from` names."""

from pathlib import Path

from pydantic import ValidationError

from fedprompt.benchmark.config.run_config import RunConfig
from fedprompt.benchmark.config.starting_point import StartingPoint
from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.runs.store import MODEL, Store
from fedprompt.results.errors import RecordError
from fedprompt.results.records import models


def starting_point(name: str, directory: Path | None) -> StartingPoint:
    """Returns a finished run with a kept model.

    Args:
        name: Its run id in `directory`, or its path, DIR/RUN_ID.
        directory: A directory of runs.

    Raises:
        ConfigError: There is no such run, it kept no model, or its model cannot be read.
    """
    place = Path(name)
    if len(place.parts) < 2:
        if directory is None:
            raise ConfigError(f"--from {name}: name the run with its directory, as DIR/RUN_ID.")
        place = directory / name
    entry = Store(place.parent).entry(place.name)
    if entry is None:
        raise ConfigError(
            f"--from {name}: {place.parent} has no run {place.name}; name it as DIR/RUN_ID, or choose its --out."
        )
    if entry.status != "done" or entry.lacks_model("server", place.parent):
        what = "failed" if entry.status != "done" else "kept no model"
        raise ConfigError(
            f"--from {name}: this run {what}; delete {place}, and repeat the run with --keep-model server (or all)."
        )
    try:
        config = RunConfig(**entry.result["config"])
        model = models.model(place.parent, place.name)
    except RecordError as error:
        raise ConfigError(f"--from {name}: {error}.") from error
    except ValidationError as error:
        field = ".".join(map(str, error.errors()[0]["loc"]))
        raise ConfigError(f"--from {name}: its configuration is invalid in this version: {field}.") from error
    return StartingPoint(config, str(model.header["digest"]), str((place / MODEL).absolute()))
