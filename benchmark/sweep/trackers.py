"""Finished runs handed on to an experiment tracker: a curve for every column of their rounds, and their settings."""

import math
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.runs.store import Store
from fedprompt.benchmark.sweep.progress import ProgressListener

Rows = list[dict[str, Any]]
Tracker = Callable[[str, Mapping[str, Any], Rows], None]
"""Takes a run's name, its result and its rounds."""


def tracker(name: str, folder: Path) -> Tracker:
    """The tracker of that name, which keeps what it keeps below `folder`. Raises `ConfigError` where it is missing."""
    if name not in TRACKERS:
        raise ConfigError(f"--tracker {name}: there is none of that name; use {', '.join(TRACKERS)}.")
    module, make = TRACKERS[name]
    try:
        import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"--tracker {name}: {error.name or module} is not installed; "
            f"pip install 'federated-prompt-bench[{name}]' brings it."
        ) from error
    return make(folder)


class TrackedProgress:
    """A watcher that also hands every finished run to a tracker."""

    def __init__(self, watcher: ProgressListener, track: Tracker, store: Store) -> None:
        self.watcher, self.track, self.store = watcher, track, store
        self.round_done, self.note, self.describe = watcher.round_done, watcher.note, watcher.describe

    def run_done(self, run_id: str, result: Mapping[str, Any]) -> None:
        """Tells the watcher, and the tracker of a run that is done."""
        self.watcher.run_done(run_id, result)
        if result["status"] != "done":
            return
        import pandas as pd

        rows: Rows = pd.read_parquet(self.store.directory / run_id / "rounds.parquet").to_dict("records")  # type: ignore[assignment]
        try:
            self.track(run_id, result, rows)
        except Exception as error:  # a tracker that is down must not end a sweep, whose records are in the store
            self.note(f"run {run_id} is kept, but its tracker failed: {type(error).__name__}: {error}")


def scalars(row: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a round but its own; what was not measured in it is left out."""
    return {str(k): float(v) for k, v in row.items() if k != "round" and not math.isnan(float(v))}


def settings(result: Mapping[str, Any]) -> dict[str, str]:
    """A run's configuration as flat text."""
    return {name: str(value) for name, value in result["config"].items() if value is not None}


def title(result: Mapping[str, Any]) -> str:
    """What a run is called in a tracker."""
    return f"{result['method']} {result['dataset']} {result['partition']} {result['alpha']} seed {result['seed']}"


def _tensorboard(folder: Path) -> Tracker:
    from torch.utils.tensorboard import SummaryWriter

    def track(run_id: str, result: Mapping[str, Any], rows: Rows) -> None:
        with SummaryWriter(str(folder / "tensorboard" / f"{result['method']}-{run_id}")) as writer:  # type: ignore[no-untyped-call]
            writer.add_text("run", title(result))  # type: ignore[no-untyped-call]
            writer.add_text("settings", "\n".join(f"    {k}: {v}" for k, v in settings(result).items()))  # type: ignore[no-untyped-call]
            for row in rows:
                for name, value in scalars(row).items():
                    writer.add_scalar(name, value, int(row["round"]))  # type: ignore[no-untyped-call]

    return track


def _mlflow(folder: Path) -> Tracker:
    import os

    import mlflow

    if "MLFLOW_TRACKING_URI" not in os.environ:
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # plain files need no server, which is what is wanted
        mlflow.set_tracking_uri((folder / "mlflow").absolute().as_uri())
    mlflow.set_experiment("bench")

    def track(run_id: str, result: Mapping[str, Any], rows: Rows) -> None:
        with mlflow.start_run(run_name=title(result), tags={"run_id": run_id}):
            mlflow.log_params(settings(result))
            for row in rows:
                mlflow.log_metrics(scalars(row), step=int(row["round"]))

    return track


def _wandb(folder: Path) -> Tracker:
    import wandb

    def track(run_id: str, result: Mapping[str, Any], rows: Rows) -> None:
        where = {"project": "bench", "dir": str(folder), "id": run_id, "name": title(result)}
        with wandb.init(**where, config=dict(result["config"]), resume="allow", reinit=True) as run:
            for row in rows:
                run.log(scalars(row), step=int(row["round"]))

    return track


TRACKERS: dict[str, tuple[str, Callable[[Path], Tracker]]] = {
    "tensorboard": ("tensorboard", _tensorboard),
    "mlflow": ("mlflow", _mlflow),
    "wandb": ("wandb", _wandb),
}
