"""The keyword arguments of `run` and `sweep`: the options of the command line, for editors and type checkers.

A test compares them with `RunSettings` and with the scheduling options, names and types.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict

from fedprompt.benchmark.config.lists import LISTS, parse_list
from fedprompt.benchmark.config.options import Options
from fedprompt.benchmark.errors import ConfigError, did_you_mean

Keep = Literal["server", "all"]


class RunOptions(TypedDict, total=False):
    """The options of a run, as on the page of `bench run`, with underscores."""

    # data and federation
    data_root: str | Path | None
    skip_corrupt: bool
    partition: str
    clients: int | None
    held_out: str | float | None
    participation: float
    validation: float
    min_test: int
    sizes: str | None
    size_sigma: float | None
    samples_per_client: int | None
    classes_per_client: int | None
    clients_per_domain: int | None
    domain: str | None
    min_samples: int | None
    partition_file: str | Path | None
    # training
    rounds: int
    epochs: int
    batch_size: int
    optimizer: Literal["sgd", "adam", "adamw"]
    lr: float
    lr_schedule: Literal["constant", "cosine"]
    momentum: float | None
    beta1: float | None
    beta2: float | None
    eps: float | None
    weight_decay: float
    clip_norm: float | None
    head_init: Literal["random", "zero", "ncm", "ridge"]
    standardize: Literal["none", "features", "whiten"]
    personal_epochs: int
    personal_lr_factor: float
    prior_smoothing: float
    eval_every: int | None
    eval_at: Sequence[int] | str | None
    set: Sequence[str] | str
    plugin: Sequence[str | Path] | str | Path
    # backbone
    backbone: str
    checkpoint: str | Path | None
    image_size: int | None
    patch_size: int | None
    normalize: Literal["backbone", "imagenet", "half", "none"]
    # execution
    device: str
    precision: Literal["auto", "fp32", "bf16"]
    executor: Literal["auto", "sequential", "threaded", "fused"]


class SweepKeywords(RunOptions, total=False):
    """The options of the runs of a sweep, and how they are scheduled."""

    workers: int | None
    cpus_per_run: int | None
    gpus_per_run: float | str
    address: str | None
    local: bool
    run_timeout: float | None
    retries: int
    max_failures: int | None
    checkpoint_every: float
    keep_model: Keep | None


SCHEDULING = tuple(name for name in SweepKeywords.__annotations__ if name not in RunOptions.__annotations__)


def given(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of keyword arguments as the command line gives them to `options`; those of None are not given.

    Raises:
        ConfigError: There is no such option, or a list is empty or not a list of numbers.
    """
    known = [name for name in Options.model_fields if name != "per_method"]
    for name in values:
        if name not in known:
            hint = did_you_mean(name, (*known, *SCHEDULING))
            raise ConfigError(f"unknown option {name!r}{hint}; `bench run --help` lists the options.")
    chosen = {name: value for name, value in values.items() if value is not None}
    return {name: _list(name, value) if name in LISTS else _plain(value) for name, value in chosen.items()}


def _list(name: str, value: Any) -> list[Any]:
    """The values of a list option, which may be one value, a text as on the command line, or several values."""
    if isinstance(value, str):
        return parse_list(name, [value])
    items = list(value) if isinstance(value, Iterable) and not isinstance(value, os.PathLike) else [value]
    if not items:
        raise ConfigError(f"--{name.replace('_', '-')} is empty: name at least one value.")
    return [_plain(item) for item in items]


def _plain(value: Any) -> Any:
    """The value without types of pathlib and NumPy."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value.item() if hasattr(value, "item") else value
