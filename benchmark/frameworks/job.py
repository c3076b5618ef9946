"""One federated job as files that every contestant reads: data, clients, cohorts, initial tensors, hyper-parameters."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file, save_file
from torch import Tensor

from fedprompt.benchmark.backbone import loading as backbone
from fedprompt.benchmark.config.options import options
from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.frameworks import generated_data as made
from fedprompt.benchmark.runs import execute as runner
from fedprompt.benchmark.simulation.random_streams import RandomStreams
from fedprompt.data.files.json_files import write as write_json
from fedprompt.methods import registry as methods

METHOD = "fedvpt"


@dataclass(frozen=True)
class Plan:
    """What to compare on: a backbone, and the size of the made federation and of its training."""

    backbone: str
    checkpoint: str | None = None
    image_size: int | None = None
    images: int = 50
    tests: int = 5
    cohort: int = 10
    rounds: int = 20
    epochs: int = 1
    batch_size: int = 16
    lr: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 1e-5
    alpha: float = 0.5


@dataclass(frozen=True)
class Job:
    """Shallow prompts and a linear head, trained by FedAvg over given cohorts.

    `train` and `test` are each client's rows of the arrays in `data`; `cohorts` the clients of each round; `initial` a
    safetensors file with `prompt` [p, D], `head.weight` [C, D] and `head.bias` [C]; `options` the same job as this
    program's own options.
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
        """Writes the job as JSON, whole or not at all."""
        write_json(path, dataclasses.asdict(self))

    @classmethod
    def read(cls, path: Path) -> "Job":
        """The job that `write` left at `path`."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))

    def array(self, name: str) -> np.ndarray:
        """`train_x`, `test_x` (uint8 [N, S, S, 3]), `train_y` or `test_y` (int64 [N]), mapped from disk."""
        return np.load(Path(self.data) / f"{name}.npy", mmap_mode="r")

    def state(self) -> dict[str, Tensor]:
        """The initial trainable tensors."""
        return load_file(self.initial)


def build(plan: Plan, clients: int, seed: int, threads: int, folder: Path) -> Path:
    """Makes data, federation and job under `folder`; returns the job's file.

    Cohorts and initial tensors are those that this program's own run of the same options draws.
    Raises `ConfigError` where a cohort asks for more clients than there are.
    """
    if plan.cohort > clients:
        raise ConfigError(f"--cohort {plan.cohort}: there are {clients} clients; lower it, or raise --clients.")
    classes = made.CLASSES
    vit = backbone.load(plan.backbone, classes, plan.checkpoint, plan.image_size)
    data = made.digits(folder / "data", clients * plan.images, clients * plan.tests, vit.image_size)
    own = _own_options(plan, clients, seed, data)
    config = options(own).grid()[0]
    streams = RandomStreams(config.data_identity, config.federation.label, config.seed)
    federation = runner.federation(config)
    place = folder / "jobs" / f"{plan.backbone}-{clients}-{seed}"
    place.mkdir(parents=True, exist_ok=True)
    initial = place / "initial.safetensors"
    save_file(methods.create(METHOD).method.shared(vit, streams.torch), initial)
    shared = ("backbone", "checkpoint", "epochs", "batch_size", "lr", "momentum", "weight_decay")
    job = Job(
        **{name: getattr(plan, name) for name in shared},
        image_size=vit.image_size,
        classes=classes,
        data=str(data),
        initial=str(initial),
        train=[client.train.tolist() for client in federation.clients],
        test=[client.test.tolist() for client in federation.clients],
        cohorts=[_cohort(streams, r, clients, plan.cohort) for r in range(1, plan.rounds + 1)],
        seed=seed,
        threads=threads,
        options=own,
    )
    job.write(place / "job.json")
    return place / "job.json"


def _own_options(plan: Plan, clients: int, seed: int, data: Path) -> dict[str, Any]:
    same = ("backbone", "checkpoint", "image_size", "rounds", "epochs", "batch_size", "lr", "momentum", "weight_decay")
    return {name: getattr(plan, name) for name in same} | {
        "methods": [METHOD],
        "datasets": [f"npz:{data / made.ARCHIVE}"],
        "partition": "dirichlet",
        "alpha": [plan.alpha],
        "clients": clients,
        "held_out": 0,
        "participation": plan.cohort / clients,
        "eval_every": plan.rounds,
        "seeds": [seed],
    }


def _cohort(streams: RandomStreams, number: int, clients: int, count: int) -> list[int]:
    chosen = streams.numpy("cohort", number).choice(np.arange(clients), count, replace=False)
    return sorted(map(int, chosen))
