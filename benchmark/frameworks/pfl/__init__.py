"""pfl-research: `FederatedAveraging` on a `SimulatedBackend`, with a `PyTorchModel` that sends only trainable tensors.

Configured for speed as its documentation recommends: several processes under torch's launcher, each with one model, one
thread and a share of the cohort; client data sets created when sampled; no evaluation on clients during training. The
sampler returns the job's cohorts in order.
"""

# The development environment does not contain this framework.
# mypy: disable-error-code="import-not-found", allow-subclassing-any, allow-untyped-decorators
import itertools
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.aggregate.weighting import WeightByDatapoints
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.pytorch import PyTorchTensorDataset
from pfl.hyperparam.base import NNTrainHyperParams
from pfl.internal.ops import pytorch_ops
from pfl.metrics import Metrics, Weighted
from pfl.model.pytorch import PyTorchModel
from torch import Tensor
from torch.nn import functional

from fedprompt.benchmark.frameworks.job import Job
from fedprompt.benchmark.frameworks.model import PromptedViT, accuracy, load, sgd
from fedprompt.benchmark.frameworks.outcome import Outcome


class Learner(PromptedViT):
    """The model with the two functions that pfl requires."""

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Returns the training loss."""
        return functional.cross_entropy(self(images), labels)

    @torch.no_grad()
    def metrics(self, images: Tensor, labels: Tensor) -> dict[str, Any]:
        """Returns what pfl evaluates before its first round."""
        return {"loss": Weighted(self.loss(images, labels).item() * len(labels), len(labels))}


class Clock(TrainingProcessCallback):
    """Records the time of every round."""

    def __init__(self) -> None:
        self.marks: list[float] = []

    def on_train_begin(self, *, model: Any) -> Metrics:
        """Notes the time before the first round."""
        self.marks.append(time.time())
        return Metrics()

    def after_central_iteration(self, aggregate_metrics: Any, model: Any, *, central_iteration: int) -> Any:
        """Notes the time after a round; never stops the training."""
        self.marks.append(time.time())
        return False, Metrics()


def clients(job: Job) -> FederatedDataset:
    """Returns the training data by client, shuffled on each access."""
    images, labels, rng = job.array("train_x"), job.array("train_y"), np.random.default_rng(job.seed)

    def load_client(client: int) -> PyTorchTensorDataset:
        rows = rng.permutation(job.train[client])
        return PyTorchTensorDataset((torch.from_numpy(images[rows]), torch.from_numpy(labels[rows])), str(client))

    order = itertools.cycle(itertools.chain.from_iterable(job.cohorts))
    return FederatedDataset(load_client, lambda: next(order))


def run(path: Path) -> Outcome | None:
    """Runs all rounds of the job in the file `path`; returns None in every process but the first."""
    job = Job.read(path)
    np.random.seed(job.seed)  # pfl draws its seeds from the global generator
    torch.set_num_threads(1 if pytorch_ops.distributed.world_size > 1 else job.threads)
    learner = load(job, Learner)
    model = PyTorchModel(
        learner,
        local_optimizer_create=lambda parameters, lr: sgd(parameters, job),
        central_optimizer=torch.optim.SGD([p for p in learner.parameters() if p.requires_grad], lr=1.0),
    )
    data, rounds, clock = clients(job), len(job.cohorts), Clock()
    FederatedAveraging().run(
        algorithm_params=NNAlgorithmParams(rounds, rounds + 1, len(job.cohorts[0]), None),
        backend=SimulatedBackend(data, data, postprocessors=[WeightByDatapoints()]),
        model=model,
        model_train_params=NNTrainHyperParams(
            local_num_epochs=job.epochs, local_learning_rate=job.lr, local_batch_size=job.batch_size
        ),
        callbacks=[clock],
    )
    outcome, processes = None, pytorch_ops.distributed.world_size
    if pytorch_ops.distributed.global_rank == 0:
        torch.set_num_threads(job.threads)
        facts = {"pfl": version("pfl"), "torch": torch.__version__, "processes": str(processes)}
        outcome = Outcome(clock.marks, accuracy(learner, job), facts=facts)
    if processes > 1:  # a process that exits before the others would stop them
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
    return outcome
