"""The runs of the checks: a few methods on digits, or on the toy images where checks are small."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from fedprompt.benchmark.config.options import options
from fedprompt.benchmark.config.run_config import RunConfig
from fedprompt.benchmark.contract import toy
from fedprompt.benchmark.gpu_check.job import Job

PARTS = ("train_x", "train_y", "test_x", "test_y")


@contextmanager
def dataset(job: Job) -> Iterator[str]:
    """The name of the data set of a check's runs, which exists inside the block."""
    if not job.small:
        yield "digits"
        return
    with tempfile.TemporaryDirectory() as folder:
        path, data = Path(folder) / "toy.npz", toy.dataset()
        np.savez(path, **{part: getattr(data, part) for part in PARTS})  # type: ignore[arg-type]
        yield f"npz:{path}"


def configuration(job: Job, dataset: str, method: str, seed: int, **other: Any) -> RunConfig:
    """The configuration of a run with the default options, of two rounds and few clients where checks are small."""
    small = {"rounds": 2, "clients": 4, "participation": 0.5} if job.small else {}
    given = {"methods": (method,), "datasets": (dataset,), "seeds": (seed,), "device": job.device, "precision": "fp32"}
    (config,) = options(given | small | other).grid()
    return config
