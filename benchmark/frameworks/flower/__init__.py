"""Flower's simulation engine: a `ClientApp` on Ray actors, a `ServerApp` with the strategy `FedAvg`, the message API.

As its documentation recommends: `num_cpus` 1 a client, so that there are as many actors as processors and each computes
with one thread; an actor keeps the model and the mapped data between clients (`functools.cache`); only the prompt
and the head travel; the server evaluates (`evaluate_fn`), once, after the last round.
A node's identity is drawn by Flower, so the message names the client that the node stands for: same cohorts.
"""

# The environment that runs the checks does not have this peer.
# mypy: disable-error-code="import-not-found", allow-subclassing-any, allow-untyped-decorators
import time
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import flwr
import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation
from torch.utils.data import DataLoader, TensorDataset

from fedprompt.benchmark.frameworks.job import Job
from fedprompt.benchmark.frameworks.model import PromptedViT, accuracy, fit, load
from fedprompt.benchmark.frameworks.outcome import Outcome

client_app = ClientApp()


@cache
def _kept(path: str) -> tuple[Job, PromptedViT]:
    """The job and its model, loaded once a process."""
    torch.set_num_threads(1)
    job = Job.read(Path(path))
    return job, load(job, PromptedViT)


@client_app.train()
def train(message: Message, context: Context) -> Message:
    """One client's local epochs, from the tensors in the message."""
    told = message.content["config"]
    job, model = _kept(str(told["job"]))
    model.receive(message.content["arrays"].to_torch_state_dict())
    rows = job.train[int(told["client"])]
    data = TensorDataset(torch.from_numpy(job.array("train_x")[rows]), torch.from_numpy(job.array("train_y")[rows]))
    loss = fit(model, DataLoader(data, job.batch_size, shuffle=True), job)
    metrics = MetricRecord({"train_loss": loss, "num-examples": len(rows)})
    return Message(RecordDict({"arrays": ArrayRecord(model.trained()), "metrics": metrics}), reply_to=message)


class SameCohorts(FedAvg):
    """FedAvg that names a client of the job's cohort to each node it samples, and keeps the time."""

    def __init__(self, job: Job, path: str) -> None:
        count = len(job.cohorts[0])
        share, clients = count / len(job.train), len(job.train)
        super().__init__(share, 0.0, min_train_nodes=count, min_available_nodes=clients)
        self.job, self.path = job, path
        self.marks: list[float] = []
        self.losses: list[float] = []

    def configure_train(self, server_round: int, arrays: Any, config: Any, grid: Grid) -> Iterable[Message]:
        """The messages of a round: the model to each client that our own sampling chose."""
        if not self.marks:
            self.marks.append(time.time())
        cohort = self.job.cohorts[server_round - 1]
        messages = super().configure_train(server_round, arrays, config, grid)
        for message, client in zip(messages, cohort, strict=True):
            told = ConfigRecord({"client": client, "job": self.path})
            message.content = RecordDict({"arrays": arrays, "config": told})
        return messages

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> tuple[Any, Any]:
        arrays, metrics = super().aggregate_train(server_round, replies)
        self.marks.append(time.time())
        self.losses.append(float(metrics["train_loss"]))
        return arrays, metrics


def run(path: Path) -> Outcome:
    """All rounds of the job in the file `path`."""
    job = Job.read(path)
    outcomes: list[Outcome] = []
    server_app = ServerApp()

    @server_app.main()
    def serve(grid: Grid, context: Context) -> None:
        model = load(job, PromptedViT)
        strategy = SameCohorts(job, str(path))
        result = strategy.start(grid, ArrayRecord(model.trained()), num_rounds=len(job.cohorts))
        model.receive(result.arrays.to_torch_state_dict())
        torch.set_num_threads(job.threads)
        facts = {"flwr": flwr.__version__, "torch": torch.__version__, "actors": str(job.threads)}
        outcomes.append(Outcome(strategy.marks, accuracy(model, job), strategy.losses, facts))

    backend = {"client_resources": {"num_cpus": 1}, "init_args": {"num_cpus": job.threads}}
    run_simulation(server_app, client_app, num_supernodes=len(job.train), backend_config=backend)
    return outcomes[0]
