"""The approach of PFLlib: every client is an object with its own copy of the model and its own `DataLoader`.

One process trains one client after the other, with all processors inside torch's operators. Only the prompt and the
head are sent; PFLlib would send every parameter.
"""

import copy
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from fedprompt.benchmark.frameworks.job import Job
from fedprompt.benchmark.frameworks.model import PromptedViT, accuracy, client_data, fit, load
from fedprompt.benchmark.frameworks.outcome import Outcome


class Client:
    """A client with its own copy of the model."""

    def __init__(self, number: int, model: PromptedViT, job: Job) -> None:
        self.number, self.model, self.job = number, copy.deepcopy(model), job
        self.samples = len(job.train[number])

    def train(self, state: dict[str, Tensor], generator: torch.Generator) -> float:
        """Trains from the server's tensors; returns the mean loss over steps."""
        self.model.receive(state)
        data = client_data(self.job, self.number)
        return fit(self.model, DataLoader(data, self.job.batch_size, shuffle=True, generator=generator), self.job)


def run(path: Path) -> Outcome:
    """Runs all rounds of the job in the file `path`."""
    job = Job.read(path)
    torch.set_num_threads(job.threads)
    generator = torch.Generator().manual_seed(job.seed)
    server = load(job, PromptedViT)
    clients = [Client(number, server, job) for number in range(len(job.train))]
    marks, losses = [time.time()], []
    for cohort in job.cohorts:
        sent, chosen = server.trained(), [clients[number] for number in cohort]
        losses.append(sum(client.train(sent, generator) for client in chosen) / len(chosen))
        server.receive(average(chosen))
        marks.append(time.time())
    return Outcome(marks, accuracy(server, job), losses, {"torch": torch.__version__, "threads": str(job.threads)})


def average(clients: list[Client]) -> dict[str, Tensor]:
    """Returns the mean of the clients' tensors, weighted by their numbers of samples."""
    total = sum(client.samples for client in clients)
    states = [(client.samples / total, client.model.trained()) for client in clients]
    return {name: torch.stack([share * state[name] for share, state in states]).sum(0) for name in states[0][1]}
