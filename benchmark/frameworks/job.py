"""A federated job as files that all frameworks read: data, clients, cohorts, initial tensors, hyperparameters.

Imports nothing of this program, so that the other frameworks start as quickly as they can.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Job:
    """FedAvg of shallow prompts and a linear head over given cohorts.

    Attributes:
        data: Folder of the arrays.
        initial: Safetensors file with `prompt` [p, D], `head.weight` [C, D] and `head.bias` [C].
        train, test: Rows of the arrays, per client.
        cohorts: Clients, per round.
        options: The same job as options of this program.
    """

    backbone: str
    checkpoint: str | None
    image_size: int
    classes: int
    data: str
    initial: str
    train: list[list[int]]
    test: list[list[int]]
    cohorts: list[list[int]]
    epochs: int
    batch_size: int
    lr: float
    momentum: float
    weight_decay: float
    seed: int
    threads: int
    options: dict[str, Any]

    def write(self, path: Path) -> None:
        """Writes the job as JSON."""
        path.write_text(json.dumps(dataclasses.asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "Job":
        """Reads a file that `write` created."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))

    def array(self, name: str) -> np.ndarray:
        """Maps `train_x` or `test_x` (uint8 [N, S, S, 3]), `train_y` or `test_y` (int64 [N]) from disk."""
        return np.load(Path(self.data) / f"{name}.npy", mmap_mode="r")
