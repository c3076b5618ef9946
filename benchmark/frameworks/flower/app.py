"""The Flower app: a `ClientApp` that trains one client, and a `ServerApp` with `FedAvg`, both on the message API.

An actor keeps the model and the mapped data between clients (`functools.cache`). Only the prompt and the head are sent.
The server evaluates once, after the last round. Flower draws the identities of its nodes, so each message names the
client that the node represents; the cohorts are those of the job.
"""

# The development environment does not contain this framework.
# mypy: disable-error-code="import-not-found", allow-subclassing-any, allow-untyped-decorators
import time
from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import flwr
import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from torch.utils.data import DataLoader

from fedprompt.benchmark.frameworks.flower import RESULT
from fedprompt.benchmark.frameworks.job import Job
from fedprompt.benchmark.frameworks.model import PromptedViT, accuracy, client_data, fit, load
from fedprompt.benchmark.frameworks.outcome import Outcome

client_app, server_app = ClientApp(), ServerApp()


@cache
def _load_once(path: str) -> tuple[Job, PromptedViT]:
    """Returns the job and its model; each process loads them once."""
    torch.set_num_threads(1)
    job = Job.read(Path(path))
    return job, load(job, PromptedViT)


@client_app.train()
def train(message: Message, context: Context) -> Message:
    """Trains one client from the tensors in the message."""
    config = message.content["config"]
    job, model = _load_once(str(config["job"]))
    model.receive(message.content["arrays"].to_torch_state_dict())
    data = client_data(job, int(config["client"]))
    loss = fit(model, DataLoader(data, job.batch_size, shuffle=True), job)
    metrics = MetricRecord({"train_loss": loss, "num-examples": len(data)})
    return Message(RecordDict({"arrays": ArrayRecord(model.trained()), "metrics": metrics}), reply_to=message)


class SameCohorts(FedAvg):
    """FedAvg over the job's cohorts; records the time of each round."""

    def __init__(self, job: Job, path: str) -> None:
        cohort, clients = len(job.cohorts[0]), len(job.train)
        super().__init__(cohort / clients, 0.0, min_train_nodes=cohort, min_available_nodes=clients)
        self.job, self.path = job, path
        self.marks: list[float] = []
        self.losses: list[float] = []

    def configure_train(self, server_round: int, arrays: Any, config: Any, grid: Grid) -> Iterable[Message]:
        """Returns the messages of a round, one per client of the job's cohort."""
        if not self.marks:
            self.marks.append(time.time())
        cohort = self.job.cohorts[server_round - 1]
        messages = super().configure_train(server_round, arrays, config, grid)
        for message, client in zip(messages, cohort, strict=True):
            client_config = ConfigRecord({"client": client, "job": self.path})
            message.content = RecordDict({"arrays": arrays, "config": client_config})
        return messages

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> tuple[Any, Any]:
        arrays, metrics = super().aggregate_train(server_round, replies)
        self.marks.append(time.time())
        self.losses.append(float(metrics["train_loss"]))
        return arrays, metrics


@server_app.main()
def serve(grid: Grid, context: Context) -> None:
    """Runs all rounds of the job that the run configuration names, and writes the outcome beside the job."""
    path = Path(str(context.run_config["job"]))
    job = Job.read(path)
    model = load(job, PromptedViT)
    strategy = SameCohorts(job, str(path))
    result = strategy.start(grid, ArrayRecord(model.trained()), num_rounds=len(job.cohorts))
    model.receive(result.arrays.to_torch_state_dict())
    torch.set_num_threads(job.threads)
    facts = {"flwr": flwr.__version__, "ray": version("ray"), "torch": torch.__version__, "actors": str(job.threads)}
    Outcome(strategy.marks, accuracy(model, job), strategy.losses, facts).write(path.with_name(RESULT))
