"""Plan of a comparison, and its job: creates data, federation, cohorts and initial tensors as files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save_file

from fedprompt.benchmark.backbone import loading as backbone
from fedprompt.benchmark.backbone.families import require_plain_vit
from fedprompt.benchmark.config.options import options
from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.frameworks import generated_data
from fedprompt.benchmark.frameworks.job import Job
from fedprompt.benchmark.runs import execute as runner
from fedprompt.benchmark.simulation.random_streams import RandomStreams
from fedprompt.methods import registry as methods

METHOD = "fedvpt"


@dataclass(frozen=True)
class Plan:
    """Options of the comparison: backbone, size of the federation, training."""

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


def build(plan: Plan, clients: int, seed: int, threads: int, folder: Path) -> Path:
    """Creates data, federation and job in `folder`; returns the job's file.

    Cohorts and initial tensors are those of a run of this program with the same options.

    Raises:
        ConfigError: The cohort is larger than the number of clients, or the backbone is no plain ViT.
    """
    if plan.cohort > clients:
        raise ConfigError(f"--cohort {plan.cohort}: there are {clients} clients; lower it, or raise --clients.")
    vit = backbone.load(plan.backbone, generated_data.CLASSES, plan.checkpoint, plan.image_size)
    require_plain_vit(vit.name, vit.model, "the comparison of frameworks")
    data = generated_data.digits(folder / "data", clients * plan.images, clients * plan.tests, vit.image_size)
    our_options = _our_options(plan, clients, seed, data)
    config = options(our_options).grid()[0]
    streams = RandomStreams(config.data_identity, config.federation.label, config.seed)
    federation = runner.federation(config)
    job_folder = folder / "jobs" / f"{plan.backbone}-{clients}-{seed}"
    job_folder.mkdir(parents=True, exist_ok=True)
    initial = job_folder / "initial.safetensors"
    save_file(methods.create(METHOD).method.shared(vit, streams.torch), initial)
    shared = ("backbone", "checkpoint", "epochs", "batch_size", "lr", "momentum", "weight_decay")
    job = Job(
        **{name: getattr(plan, name) for name in shared},
        image_size=vit.image_size,
        classes=generated_data.CLASSES,
        data=str(data),
        initial=str(initial),
        train=[client.train.tolist() for client in federation.clients],
        test=[client.test.tolist() for client in federation.clients],
        cohorts=[_cohort(streams, r, clients, plan.cohort) for r in range(1, plan.rounds + 1)],
        seed=seed,
        threads=threads,
        options=our_options,
    )
    path = job_folder / "job.json"
    job.write(path)
    return path


def _our_options(plan: Plan, clients: int, seed: int, data: Path) -> dict[str, Any]:
    same = ("backbone", "checkpoint", "image_size", "rounds", "epochs", "batch_size", "lr", "momentum", "weight_decay")
    return {name: getattr(plan, name) for name in same} | {
        "lr_schedule": "constant",
        "optimizer": "sgd",  # what the other frameworks' clients are given
        "standardize": "none",
        "precision": "fp32",
        "methods": [METHOD],
        "datasets": [f"npz:{data / generated_data.ARCHIVE}"],
        "partition": "dirichlet",
        "alpha": [plan.alpha],
        "clients": clients,
        "held_out": 0,
        "participation": plan.cohort / clients,
        "eval_every": plan.rounds,
        "personal_epochs": 0,  # the others train no clients after the last round
        "seeds": [seed],
    }


def _cohort(streams: RandomStreams, number: int, clients: int, count: int) -> list[int]:
    chosen = streams.numpy("cohort", number).choice(np.arange(clients), count, replace=False)
    return sorted(map(int, chosen))
