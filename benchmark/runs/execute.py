"""Executes a run in this process, from configuration to record; backbone and data are loaded once per process."""

import os
import re
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from fedprompt.benchmark.backbone import loading
from fedprompt.benchmark.backbone.preprocessing import image_rules
from fedprompt.benchmark.backbone.samples import Samples
from fedprompt.benchmark.backbone.vit import FrozenViT
from fedprompt.benchmark.config.run_config import LocalTrainingOptions, RunConfig
from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.hardware import memory
from fedprompt.benchmark.hardware.devices import has_bf16
from fedprompt.benchmark.runs import kept_model
from fedprompt.benchmark.runs.checkpointer import Checkpointer, Checkpoints
from fedprompt.benchmark.runs.record import Record, done
from fedprompt.benchmark.simulation.context import RoundSettings
from fedprompt.benchmark.simulation.executor import Executor
from fedprompt.benchmark.simulation.random_streams import RandomStreams
from fedprompt.benchmark.simulation.simulator import Simulator
from fedprompt.benchmark.simulation.tasks import LocalTraining
from fedprompt.data import federation as federations
from fedprompt.data import loading as datasets
from fedprompt.data.dataset import DataSet
from fedprompt.data.federation import Federation
from fedprompt.methods import registry as methods
from fedprompt.methods.errors import MethodError

Progress = Callable[[int, int, dict[str, Any]], object]
"""Receives the number of each completed round, the images trained on so far, and the row of the round."""


def execute(
    config: RunConfig,
    threads: int = 1,
    progress: Progress = lambda *_: None,
    halvings: int = 0,
    checkpoints: Checkpoints | None = None,
    keep: str | None = None,
) -> Record:
    """Executes one run.

    Args:
        config: The run.
        threads: Clients that train side by side.
        progress: Called with the number of each completed round, the images trained on so far, and the round's row.
        halvings: How often earlier attempts were out of memory; each halves the clients of a fused pass.
        checkpoints: Where the run continues from, if an earlier attempt left something, and saves its progress.
        keep: The trained tensors to keep, `server` or `all`; None: none.

    Returns:
        The record of the finished run.
    """
    began, clock = time.time(), time.perf_counter()  # the system's clock may be set during the run
    require_device(config.device)
    memory.reset_peak(torch.device(config.device))
    run = simulator(config, threads, halvings)
    checkpointer = Checkpointer(run, config.run_id, checkpoints or Checkpoints())
    checkpointer.resume()

    def after_round(number: int) -> None:
        checkpointer.after_round(number)
        progress(number, run.outcome.images["train"], dict(run.outcome.rounds[-1]))

    run.run(after_round)
    seconds = checkpointer.earlier_seconds + time.perf_counter() - clock
    record = done(config, run, seconds, memory.peak(run.context.vit.device))
    worker = f"{socket.gethostname()}:{os.getpid()}"
    ended = began + time.perf_counter() - clock
    when = {"began": began, "ended": ended, "worker": worker, "resumed": checkpointer.resumed}
    rules = image_rules(dataset(config), run.context.vit, config.normalize)
    result = record.result | {"data": rules, "when": when} | kept_model.start_note(run, config)
    if keep is None:
        return replace(record, result=result)
    content, note = kept_model.pack(run, config, keep)
    return replace(record, result=result | {"model": note}, model=content)


def simulator(config: RunConfig, threads: int = 1, halvings: int = 0) -> Simulator:
    """The simulation of a run, ready to start. Raises the error of whatever is missing or does not fit."""
    ready(config)
    data = dataset(config)
    vit = frozen_vit(config, len(data.classes))
    train, test = _samples(data, vit, config.normalize)
    return assemble(config, vit, train, test, federation_of(config, data), threads, halvings)


def ready(config: RunConfig) -> None:
    """Prepares this process for a run: threads, plug-ins, device.

    Raises:
        ConfigError: The device or its precision is not available.
    """
    use_threads(1)
    for file in config.plugins:
        methods.load_plugin(file)
    require_device(config.device)
    if config.device != "cpu":
        torch.backends.cudnn.allow_tf32 = False  # torch's default would round the patch embedding to 10 bits
    if config.precision == "bf16" and not has_bf16(torch.device(config.device)):
        raise ConfigError(f"--precision bf16: {config.device} has no bf16 instructions here; use --precision fp32.")


def require_device(name: str) -> None:
    """Raises `ConfigError` unless this process can use the device, `cpu`, `cuda` or `cuda:N`."""
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise ConfigError(f"--device {name}: unknown; use cpu, cuda or cuda:N.")
    if name == "cpu":
        return
    if not torch.cuda.is_available():
        raise ConfigError(f"--device {name}: torch finds no CUDA device here; use --device cpu.")
    if (torch.device(name).index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"--device {name}: torch finds {torch.cuda.device_count()} CUDA devices here, from cuda:0.")


def use_threads(count: int) -> None:
    """Sets the threads of every arithmetic kernel in this process; with one, results do not depend on their number."""
    if torch.get_num_threads() != count:
        torch.set_num_threads(count)


def frozen_vit(config: RunConfig, classes: int) -> FrozenViT:
    """The backbone of a run, kept by the process. Raises `ConfigError` if its precision is still to be chosen."""
    if config.precision == "auto":
        raise ConfigError(
            "--precision auto: the precision of this run is not chosen yet; use `resolve_precision`, fp32 or bf16."
        )
    sizes = (config.image_size, config.patch_size)
    return loading.load(config.backbone, classes, config.checkpoint, *sizes, config.device, config.precision)


def assemble(
    config: RunConfig,
    vit: FrozenViT,
    train: Samples,
    test: Samples,
    federation: Federation,
    threads: int = 1,
    halvings: int = 0,
) -> Simulator:
    """The simulation of a run from a backbone, data and clients that are at hand."""
    options = {name: getattr(config, name) for name in LocalTrainingOptions.model_fields}
    training = LocalTraining(**{name: value for name, value in options.items() if value is not None})
    settings = RoundSettings(
        rounds=config.rounds,
        participation=config.participation,
        eval_every=config.eval_every,
        eval_at=config.eval_at,
        training=training,
        personal_epochs=config.personal_epochs,
        personal_lr_factor=config.personal_lr_factor,
        min_test=config.min_test,
        prior_smoothing=config.prior_smoothing,
        standardize=config.standardize,
        head_init=config.head_init,
    )
    recipe, tested = methods.create(config.method, config.settings), train if federation.test_part == "train" else test
    executor, start = Executor(config.executor, threads, halvings=halvings), kept_model.start(config, vit)
    try:
        return Simulator(recipe, vit, train, tested, federation, _streams(config), settings, executor, start)
    except ValueError as error:
        if start is None or isinstance(error, MethodError):
            raise
        raise ConfigError(f"--from {config.from_run}: its model {error}.") from error


def federation(config: RunConfig) -> Federation:
    """The clients of a run: the same for every method."""
    return federation_of(config, dataset(config))


def federation_of(config: RunConfig, dataset: DataSet) -> Federation:
    """The clients of a run on a data set that is at hand, or on its placeholder."""
    return federations.build(dataset, config.federation, _streams(config).numpy)


def dataset(config: RunConfig) -> DataSet:
    """The data set of a run, kept by the process."""
    root = None if config.data_root is None else Path(config.data_root)
    return datasets.load(config.dataset, root, config.skip_corrupt)


def _streams(config: RunConfig) -> RandomStreams:
    return RandomStreams(config.data_identity, config.federation.label, config.seed)


@lru_cache(maxsize=2)
def _samples(dataset: DataSet, vit: FrozenViT, normalize: str) -> tuple[Samples, Samples]:
    parts = {"train": (dataset.train_x, dataset.train_y), "test": (dataset.test_x, dataset.test_y)}
    train, test = (Samples(*part, vit, normalize, f"{dataset.identity}:{name}") for name, part in parts.items())
    return train, test
