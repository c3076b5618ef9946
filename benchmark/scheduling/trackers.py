"""Sends finished runs to an experiment tracker: one curve per column of their rounds, and their configuration."""

import math
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.runs.store import Store
from fedprompt.benchmark.scheduling.progress import ForwardedProgress, ProgressListener
from fedprompt.results.text import one_line

Rows = list[dict[str, Any]]
Tracker = Callable[[str, Mapping[str, Any], Rows], None]
"""Receives a run's id, its result and its rounds."""


def tracker(name: str, folder: Path) -> Tracker:
    """Returns the tracker of that name, which stores its files in `folder`. Raises `ConfigError` if it is missing."""
    if name not in TRACKERS:
        raise ConfigError(f"--tracker {name}: unknown tracker; choose one of {', '.join(TRACKERS)}.")
    module, create = TRACKERS[name]
    try:
        import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"--tracker {name}: {error.name or module} is not installed; run pip install 'fedprompt-bench[{name}]'."
        ) from error
    return create(folder)


class TrackedProgress(ForwardedProgress):
    """Passes progress on to a listener, and finished runs to a tracker as well."""

    def __init__(self, listener: ProgressListener, track: Tracker, store: Store) -> None:
        super().__init__(listener)
        self.track, self.store = track, store

    def run_done(self, run_id: str, result: Mapping[str, Any]) -> None:
        """Informs the listener, and the tracker if the run succeeded."""
        super().run_done(run_id, result)
        if result["status"] != "done":
            return
        import pandas as pd

        rows: Rows = pd.read_parquet(self.store.directory / run_id / "rounds.parquet").to_dict("records")  # type: ignore[assignment]
        try:
            self.track(run_id, result, rows)
        except Exception as error:  # an unavailable tracker must not end the sweep
            self.note(f"run {run_id} is saved, but its tracker failed: {one_line(error)}")


def scalars(row: Mapping[str, Any]) -> dict[str, float]:
    """Returns the values of a round, without its number and without what was not measured (nan)."""
    return {str(k): float(v) for k, v in row.items() if k != "round" and not math.isnan(float(v))}


def parameters(result: Mapping[str, Any]) -> dict[str, str]:
    """Returns a run's configuration as text."""
    return {name: str(value) for name, value in result["config"].items() if value is not None}


def title(result: Mapping[str, Any]) -> str:
    """Returns the name of a run in a tracker."""
    return f"{result['method']} {result['dataset']} {result['partition']} {result['alpha']} seed {result['seed']}"


def _tensorboard(folder: Path) -> Tracker:
    from torch.utils.tensorboard import SummaryWriter

    def track(run_id: str, result: Mapping[str, Any], rows: Rows) -> None:
        with SummaryWriter(str(folder / "tensorboard" / f"{result['method']}-{run_id}")) as writer:  # type: ignore[no-untyped-call]
            writer.add_text("run", title(result))  # type: ignore[no-untyped-call]
            writer.add_text("settings", "\n".join(f"    {k}: {v}" for k, v in parameters(result).items()))  # type: ignore[no-untyped-call]
            for row in rows:
                for name, value in scalars(row).items():
                    writer.add_scalar(name, value, int(row["round"]))  # type: ignore[no-untyped-call]

    return track


def _mlflow(folder: Path) -> Tracker:
    import os

    import mlflow

    if "MLFLOW_TRACKING_URI" not in os.environ:
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # plain files need no server
        mlflow.set_tracking_uri((folder / "mlflow").absolute().as_uri())
    mlflow.set_experiment("bench")

    def track(run_id: str, result: Mapping[str, Any], rows: Rows) -> None:
        with mlflow.start_run(run_name=title(result), tags={"run_id": run_id}):
            mlflow.log_params(parameters(result))
            for row in rows:
                mlflow.log_metrics(scalars(row), step=int(row["round"]))

    return track


def _wandb(folder: Path) -> Tracker:
    import wandb

    def track(run_id: str, result: Mapping[str, Any], rows: Rows) -> None:
        identity = {"project": "bench", "dir": str(folder), "id": run_id, "name": title(result)}
        with wandb.init(**identity, config=dict(result["config"]), resume="allow", reinit=True) as run:
            for row in rows:
                run.log(scalars(row), step=int(row["round"]))

    return track


TRACKERS: dict[str, tuple[str, Callable[[Path], Tracker]]] = {
    "tensorboard": ("tensorboard", _tensorboard),
    "mlflow": ("mlflow", _mlflow),
    "wandb": ("wandb", _wandb),
}
