"""BlazeFL: its multi-threaded mode, which its documentation recommends, with a random generator per client.

`ThreadPoolClientTrainer` trains one client per processor at a time, each thread with one thread of torch's own. The
threads share the frozen backbone; each has its own prompt and head, which alone are sent. The documentation also
recommends a free-threaded Python: pass it with `--python blazefl=FILE`.
"""

# The development environment does not contain this framework.
# mypy: disable-error-code="import-not-found", allow-subclassing-any, allow-untyped-decorators
import sys
import threading
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from queue import SimpleQueue

import torch
from blazefl.core import BaseServerHandler, ThreadPoolClientTrainer
from blazefl.reproducibility import create_rng_suite, setup_reproducibility
from torch import Tensor
from torch.utils.data import DataLoader

from fedprompt.benchmark.frameworks.job import Job
from fedprompt.benchmark.frameworks.model import PromptedViT, accuracy, client_data, fit, load, with_same_backbone
from fedprompt.benchmark.frameworks.outcome import Outcome


@dataclass
class Download:
    """What the server sends: the trained tensors."""

    state: dict[str, Tensor]


@dataclass
class Upload:
    """What a client sends: its number, the trained tensors, its number of samples, its mean loss over steps."""

    client: int
    state: dict[str, Tensor]
    samples: int
    loss: float


class Server(BaseServerHandler[Upload, Download]):
    """FedAvg over the job's cohorts; records losses and the time of each round."""

    def __init__(self, model: PromptedViT, job: Job) -> None:
        self.model, self.job, self.buffer = model, job, list[Upload]()
        self.marks, self.losses = [time.time()], list[float]()

    def sample_clients(self) -> list[int]:
        """Returns the job's cohort of the next round."""
        return self.job.cohorts[len(self.losses)]

    def downlink_package(self) -> Download:
        return Download({name: value.clone() for name, value in self.model.trained().items()})

    def if_stop(self) -> bool:
        return len(self.losses) == len(self.job.cohorts)

    def load(self, payload: Upload) -> bool:
        """Stores an upload; the last one of a cohort completes the round."""
        self.buffer.append(payload)
        complete = len(self.buffer) == len(self.sample_clients())
        if complete:
            self.global_update(self.buffer)
            self.buffer = []
        return complete

    def global_update(self, buffer: list[Upload]) -> None:
        """Averages the uploads, weighted by samples, in the order of the cohort."""
        total = sum(upload.samples for upload in buffer)
        shares = [(upload.samples / total, upload.state) for upload in buffer]
        names = shares[0][1]
        self.model.receive({n: torch.stack([share * state[n] for share, state in shares]).sum(0) for n in names})
        self.losses.append(sum(upload.loss for upload in buffer) / len(buffer))
        self.marks.append(time.time())


class Clients(ThreadPoolClientTrainer[Upload, Download]):
    """Trains clients in as many threads as the job has processors."""

    def __init__(self, model: PromptedViT, job: Job) -> None:
        self.num_parallels, self.device, self.device_count = job.threads, "cpu", 0
        self.cache, self.stop_event, self.job = list[Upload](), threading.Event(), job
        self.generators = [create_rng_suite(job.seed + client) for client in range(len(job.train))]
        self.models: SimpleQueue[PromptedViT] = SimpleQueue()  # one per thread; BlazeFL starts new threads every round
        for _ in range(job.threads):
            self.models.put(with_same_backbone(model))

    def worker(self, cid: int, device: str, payload: Download, stop_event: threading.Event) -> Upload:
        """Trains one client from the server's tensors."""
        torch.set_num_threads(1)
        model, data = self.models.get(), client_data(self.job, cid)
        try:
            model.receive(payload.state)
            generator = self.generators[cid].torch_cpu
            loss = fit(model, DataLoader(data, self.job.batch_size, shuffle=True, generator=generator), self.job)
            return Upload(cid, {name: value.clone() for name, value in model.trained().items()}, len(data), loss)
        finally:
            self.models.put(model)

    def uplink_package(self) -> list[Upload]:
        """Returns the uploads of the last cohort."""
        uploads, self.cache = self.cache, []
        return uploads


def run(path: Path) -> Outcome:
    """Runs all rounds of the job in the file `path`."""
    job = Job.read(path)
    torch.set_num_threads(1)
    setup_reproducibility(job.seed)
    model = load(job, PromptedViT)
    clients, server = Clients(model, job), Server(model, job)
    while not server.if_stop():
        clients.local_process(server.downlink_package(), server.sample_clients())
        for upload in clients.uplink_package():
            server.load(upload)
    torch.set_num_threads(job.threads)
    facts = {"blazefl": version("blazefl"), "torch": torch.__version__, "threads": str(job.threads)}
    with_gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    facts["python"] = sys.version.split()[0] + ("" if with_gil else " free-threaded")
    return Outcome(server.marks, accuracy(model, job), server.losses, facts)
