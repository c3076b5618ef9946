"""What a run leaves: the content of result.json, and the rows of rounds.parquet and clients.parquet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fedprompt.benchmark.config.run_config import RECORD_FORMAT, RunConfig
from fedprompt.benchmark.hardware import environment
from fedprompt.benchmark.simulation.evaluation.convergence import convergence
from fedprompt.data.label_skew import share_of_tests
from fedprompt.methods import uploads

if TYPE_CHECKING:  # torch is imported where runs are computed
    from fedprompt.benchmark.simulation.simulator import Simulator


@dataclass(frozen=True)
class Record:
    """A finished or failed run.

    Attributes:
        config: The run's configuration.
        result: The content of result.json.
        rounds: One row per round.
        clients: One row per client.
        model: The content of the model file, if the run keeps one.
    """

    config: RunConfig
    result: dict[str, Any]
    rounds: list[dict[str, Any]]
    clients: list[dict[str, Any]]
    model: bytes | None = None


def failed(config: RunConfig, error: str, kind: str = "exception") -> Record:
    """The record of a failed run, with its error and the kind of the error."""
    result = _header(config) | {"status": "failed", "error": error, "error_kind": kind}
    return Record(config, result | {"metrics": None, "metrics_prior": None}, [], [])


def done(config: RunConfig, run: Simulator, seconds: float, gpu_peak_bytes: int | None) -> Record:
    """The record of a finished simulation that took `seconds`."""
    context, outcome, method = run.context, run.outcome, run.context.method
    result = _header(config) | {
        "status": "done",
        "error": None,
        "error_kind": None,
        "metrics": outcome.metrics,
        "metrics_prior": outcome.metrics_prior,
        "metrics_prior_uncalibrated": outcome.metrics_prior_uncalibrated,
        "temperature": outcome.temperature,
        "unscored": outcome.unscored,
        "unestimated": outcome.unestimated,
        "communication": {"upload_bytes": outcome.upload_bytes, "download_bytes": outcome.download_bytes},
        "calibration_bytes": outcome.calibration_bytes,
        "parameters": outcome.parameters,
        "trainable": outcome.trainable,
        "travelling": outcome.travelling,
        "uploads": uploads.kinds(
            outcome.travelling["upload"], outcome.trainable["shared"], context.recipe.class_rows, method.upload_kinds
        ),
        "predicts_with": run.evaluator.predicts_with(run.state),
        "seconds": {"train": outcome.train_seconds, "eval": outcome.eval_seconds, "total": seconds},
        "images": outcome.images,
        "images_per_second": outcome.images["train"] / outcome.train_seconds if outcome.train_seconds else 0.0,
        "passes": {purpose: layers / context.vit.depth for purpose, layers in outcome.layers.items()},
        "backbone_passes": sum(outcome.layers.values()) / context.vit.depth,
        "executor": run.executor.summary(),
        "never_trained": outcome.never_trained,
        **({"convergence": convergence(outcome.rounds)} if context.trains else {}),
        "federation": {
            "hash": context.federation.hash,
            **context.federation.summary(),
            "never_sampled_tests": _never_sampled_tests(run),
        },
        "environment": environment.describe() | {"device": config.device, "threads": str(run.executor.threads)},
        "family": method.family,
        "deviations": context.recipe.deviations,
        **({"preparation": outcome.preparation} if outcome.preparation else {}),
        **({"by_class": outcome.by_class} if outcome.by_class else {}),
        **({"gpu_peak_bytes": gpu_peak_bytes} if gpu_peak_bytes else {}),
    }
    return Record(config, result, outcome.rounds, outcome.clients)


def _never_sampled_tests(run: Simulator) -> float | None:
    """Share of the seen clients' test samples whose client no round sampled; None if nothing is trained."""
    if not run.context.trains:
        return None
    federation = run.context.federation
    return share_of_tests(federation.test_counts[federation.seen], run.state.rounds_trained[federation.seen] == 0)


def _header(config: RunConfig) -> dict[str, Any]:
    return {
        "format": RECORD_FORMAT,
        "run_id": config.run_id,
        "method": config.method,
        "dataset": config.dataset,
        "partition": config.partition if config.partition_hash is None else config.federation.label,
        "alpha": config.alpha,
        "seed": config.seed,
        "config": config.model_dump(mode="json"),
        "environment": environment.describe(),
    }
