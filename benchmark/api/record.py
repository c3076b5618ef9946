"""What `run` returns: the record of a finished run, with data frames."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pandas as pd

from fedprompt.results.records import files, models
from fedprompt.results.records.models import Model


@dataclass(frozen=True, eq=False, repr=False)
class Record:
    """A finished run.

    Attributes:
        run_id: The run's id, which names its directory.
        result: The content of its `result.json`: scores, traffic, parameters, seconds, environment and others.
        rounds: One row per round from 0, before training: `train_loss`, traffic and seconds so far and, where the
            clients were evaluated, scores.
        clients: One row per client: its data and its accuracies after the last round.
        directory: The run's directory, or None if it was not kept.
        model: The trained tensors with `keep_model`, otherwise None.
    """

    run_id: str
    result: Mapping[str, Any]
    rounds: pd.DataFrame
    clients: pd.DataFrame
    directory: Path | None = None
    model: Model | None = None

    @classmethod
    def read(cls, folder: Path, kept: bool = True) -> Self:
        """Reads the directory of a finished run, which is deleted afterwards unless `kept`."""
        result = files.read_record(folder / "result.json")
        rounds, clients = (files.read_parquet(folder / f"{name}.parquet").to_pandas() for name in ("rounds", "clients"))
        model = models.model(folder.parent, folder.name) if result.get("model") else None
        return cls(folder.name, result, rounds, clients, folder if kept else None, model)

    @property
    def config(self) -> Mapping[str, Any]:
        """Every option of the run, resolved."""
        return dict(self.result["config"])

    @property
    def scores(self) -> pd.DataFrame:
        """Accuracies after the last round: one row per group of clients, such as `seen`, one column per measure."""
        return _scores(self.result["metrics"])

    @property
    def prior_scores(self) -> pd.DataFrame:
        """The same with prior-corrected logits, the fairness control."""
        return _scores(self.result["metrics_prior"])

    def __repr__(self) -> str:
        scores, names = self.result["metrics"], {"seen": "seen clients", "held_out": "held out"}
        means = [f"{name} {scores[group]['mean']:.1%}" for group, name in names.items() if scores.get(group)]
        what = f"{self.result['method']} on {self.result['dataset']}, seed {self.result['seed']}"
        return f"Record {self.run_id}: {what}; mean accuracy: {', '.join(means) or 'none'}"


def _scores(metrics: Mapping[str, Any]) -> pd.DataFrame:
    frame = pd.DataFrame.from_dict({group: values for group, values in metrics.items() if values}, orient="index")
    return frame.astype(float).rename_axis("clients")
