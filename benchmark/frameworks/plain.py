"""The plain way, as PFLlib has it: every client is an object with a copy of the model and a `DataLoader` of its own.

One process, one client after the other. Frozen weights are copied with the model but not sent: only the prompt and
the head are, which is kinder than PFLlib, where every parameter travels. All processors work inside torch's operators.
"""

import copy
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from fedprompt.benchmark.frameworks.job import Job
from fedprompt.benchmark.frameworks.model import PromptedViT, accuracy, fit, load
from fedprompt.benchmark.frameworks.outcome import Outcome


class Rows(Dataset[tuple[Tensor, Tensor]]):
    """A client's own images and labels."""

    def __init__(self, job: Job, client: int) -> None:
        rows = job.train[client]
        self.images = torch.from_numpy(job.array("train_x")[rows])
        self.labels = torch.from_numpy(job.array("train_y")[rows])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.images[index], self.labels[index]


class Client:
    """A client's model, and how it learns."""

    def __init__(self, number: int, model: PromptedViT, job: Job) -> None:
        self.number, self.model, self.job = number, copy.deepcopy(model), job
        self.samples = len(job.train[number])

    def learn(self, state: dict[str, Tensor], generator: torch.Generator) -> float:
        """Trains from what the server sent; returns the mean loss of the steps."""
        self.model.receive(state)
        batches = DataLoader(Rows(self.job, self.number), self.job.batch_size, shuffle=True, generator=generator)
        return fit(self.model, batches, self.job)


def run(path: Path) -> Outcome:
    """All rounds of the job in the file `path`."""
    job = Job.read(path)
    torch.set_num_threads(job.threads)
    generator = torch.Generator().manual_seed(job.seed)
    server = load(job, PromptedViT)
    clients = [Client(number, server, job) for number in range(len(job.train))]
    marks, losses = [time.time()], []
    for cohort in job.cohorts:
        sent, chosen = server.trained(), [clients[number] for number in cohort]
        losses.append(sum(client.learn(sent, generator) for client in chosen) / len(chosen))
        server.receive(average(chosen))
        marks.append(time.time())
    return Outcome(marks, accuracy(server, job), losses, {"torch": torch.__version__, "threads": str(job.threads)})


def average(clients: list[Client]) -> dict[str, Tensor]:
    """The clients' tensors, weighted by their numbers of samples."""
    total = sum(client.samples for client in clients)
    states = [(client.samples / total, client.model.trained()) for client in clients]
    return {name: torch.stack([share * state[name] for share, state in states]).sum(0) for name in states[0][1]}
