"""One run from its configuration to its record, in this process; backbone and data are loaded once a process."""

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from fedprompt.benchmark.backbone import loading as backbone
from fedprompt.benchmark.backbone import memory_budget as memory
from fedprompt.benchmark.backbone.samples import Samples
from fedprompt.benchmark.backbone.vit import FrozenViT
from fedprompt.benchmark.config.run_config import RECORD_FORMAT, RunConfig
from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.hardware import environment
from fedprompt.benchmark.hardware.devices import has_bf16
from fedprompt.benchmark.runs.checkpointer import Checkpointer, Checkpoints
from fedprompt.benchmark.simulation.executor import Executor
from fedprompt.benchmark.simulation.local_training import LocalTraining
from fedprompt.benchmark.simulation.random_streams import RandomStreams
from fedprompt.benchmark.simulation.simulator import Outcome, RoundSettings, Simulator
from fedprompt.data import federation as federations
from fedprompt.data import registry as datasets
from fedprompt.data.dataset import DataSet
from fedprompt.data.federation import Federation
from fedprompt.methods import registry as methods


@dataclass(frozen=True)
class Record:
    """What a run leaves: the content of result.json, and the rows of rounds.parquet and clients.parquet."""

    config: RunConfig
    result: dict[str, Any]
    rounds: list[dict[str, Any]]
    clients: list[dict[str, Any]]


def use_threads(count: int) -> None:
    """Gives every arithmetic kernel of this process `count` threads; one keeps a run's bits free of the number."""
    if torch.get_num_threads() != count:
        torch.set_num_threads(count)


def simulator(config: RunConfig, threads: int = 1, halvings: int = 0) -> Simulator:
    """Everything of a run, ready to start. Raises the plain error of whatever cannot be had or does not fit."""
    ready(config)
    data = dataset(config)
    vit = frozen_vit(config, len(data.classes))
    train, test = _samples(data, vit, config.normalize)
    return assemble(config, vit, train, test, federation_of(config, data), threads, halvings)


def ready(config: RunConfig) -> None:
    """Prepares this process for a run: threads, plug-ins, device. Raises `ConfigError` where there is none."""
    use_threads(1)
    for file in config.plugins:
        methods.load_plugin(file)
    if config.device != "cpu" and not torch.cuda.is_available():
        raise ConfigError(f"--device {config.device}: torch finds no CUDA device here; use --device cpu.")
    if config.precision == "bf16" and not has_bf16(torch.device(config.device)):
        raise ConfigError(f"--precision bf16: {config.device} has no bf16 instructions here; use --precision fp32.")


def frozen_vit(config: RunConfig, classes: int) -> FrozenViT:
    """The backbone of a run, kept by the process."""
    sizes = (config.image_size, config.patch_size)
    return backbone.load(config.backbone, classes, config.checkpoint, *sizes, config.device, config.precision)


def assemble(
    config: RunConfig,
    vit: FrozenViT,
    train: Samples,
    test: Samples,
    clients: Federation,
    threads: int = 1,
    halvings: int = 0,
) -> Simulator:
    """The simulation of a run on materials that are at hand; up to `threads` clients train side by side."""
    training = LocalTraining(
        config.epochs, config.batch_size, config.lr, config.momentum, config.weight_decay, config.clip_norm
    )
    protocol = RoundSettings(
        config.rounds,
        config.participation,
        config.eval_every,
        training,
        Executor(config.executor, threads, halvings=halvings),
        config.adapt_epochs,
    )
    streams = RandomStreams(config.data_identity, config.federation.label, config.seed)
    recipe, tested = methods.create(config.method, config.settings), train if clients.test_part == "train" else test
    return Simulator(recipe, vit, train, tested, clients, streams, protocol)


def federation(config: RunConfig) -> Federation:
    """The clients of a run: the same for every method."""
    return federation_of(config, dataset(config))


def federation_of(config: RunConfig, dataset: DataSet) -> Federation:
    """The clients of a run on a data set that is at hand, or on its stand-in."""
    streams = RandomStreams(config.data_identity, config.federation.label, config.seed)
    return federations.build(dataset, config.federation, streams.numpy)


def execute(
    config: RunConfig,
    threads: int = 1,
    progress: Callable[[int, int], None] = lambda *_: None,
    halvings: int = 0,
    checkpoints: Checkpoints | None = None,
) -> Record:
    """Runs one configuration and returns its record. `threads` clients train side by side.

    Tells `progress` the number of every finished round and the images trained on so far. Each of the `halvings` halves
    the number of clients that are fused into one pass: earlier attempts ran out of memory. The run goes on from
    `checkpoints`, where an earlier attempt left something there, and keeps what it reaches in them.
    """
    began, clock = time.time(), time.perf_counter()
    memory.begin_peak(torch.device(config.device))
    run = simulator(config, threads, halvings)
    keeper = Checkpointer(run, config.run_id, checkpoints or Checkpoints())
    keeper.resume()

    def after(number: int) -> None:
        keeper.after(number)
        progress(number, run.outcome.images)

    outcome = run.run(after)
    result = _result(config, run, outcome, keeper.earlier + time.perf_counter() - clock)
    worker = f"{socket.gethostname()}:{os.getpid()}"
    result["when"] = {"began": began, "ended": time.time(), "worker": worker, "resumed": keeper.resumed}
    return Record(config, result, outcome.rounds, outcome.clients)


def failed(config: RunConfig, error: str, kind: str = "exception") -> Record:
    """The record of a run that failed: a row with its error and that error's kind, never taken for done."""
    result = _head(config) | {"status": "failed", "error": error, "error_kind": kind}
    result |= {"metrics": None, "metrics_prior": None}
    return Record(config, result, [], [])


def _head(config: RunConfig) -> dict[str, Any]:
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


def _result(config: RunConfig, run: Simulator, outcome: Outcome, seconds: float) -> dict[str, Any]:
    return _head(config) | {
        "status": "done",
        "error": None,
        "error_kind": None,
        "metrics": outcome.metrics,
        "metrics_prior": outcome.metrics_prior,
        "communication": {"upload_bytes": outcome.upload_bytes, "download_bytes": outcome.download_bytes},
        "parameters": outcome.parameters,
        "trainable": outcome.trainable,
        "travelling": outcome.travelling,
        "predicts_with": {"seen": run.method.seen_with, "held_out": run.method.held_out_with},
        "seconds": {"train": outcome.train_seconds, "eval": outcome.eval_seconds, "total": seconds},
        "images_per_second": outcome.images / outcome.train_seconds if outcome.train_seconds else 0.0,
        "backbone_passes": outcome.backbone_passes,
        "executor": run.executor.facts(),
        "never_trained": outcome.never_trained,
        "federation": {"hash": run.federation.hash, **run.federation.summary()},
        "environment": environment.describe() | {"device": config.device, "threads": str(run.executor.threads)},
        "family": run.recipe.method.family,
        "deviations": run.recipe.deviations,
        **({"by_class": outcome.by_class} if outcome.by_class else {}),
        **({"gpu_peak_bytes": held} if (held := memory.peak(run.vit.device)) else {}),
    }


def dataset(config: RunConfig) -> DataSet:
    """The data set of a run, kept by the process."""
    root = None if config.data_root is None else Path(config.data_root)
    return datasets.load(config.dataset, root, config.skip_corrupt)


@lru_cache(maxsize=2)
def _samples(dataset: DataSet, vit: FrozenViT, normalize: str) -> tuple[Samples, Samples]:
    parts = {"train": (dataset.train_x, dataset.train_y), "test": (dataset.test_x, dataset.test_y)}
    train, test = (Samples(*part, vit, normalize, f"{dataset.identity}:{name}") for name, part in parts.items())
    return train, test
