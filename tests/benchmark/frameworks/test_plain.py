from pathlib import Path

import pytest
import torch

from fedprompt.benchmark.frameworks import ours, plain
from fedprompt.benchmark.frameworks.job import Job
from fedprompt.benchmark.frameworks.model import PromptedViT, load


def test_the_plain_way_learns_what_our_executor_learns(job_file: Path) -> None:
    mine, theirs = ours.run(job_file), plain.run(job_file)
    assert theirs.losses == pytest.approx(mine.losses, abs=1e-3)  # of round 3: two aggregations lie behind it
    assert len(mine.losses) == 3
    assert mine.losses[2] != pytest.approx(mine.losses[0], abs=1e-2)  # something was learnt that could have differed
    assert theirs.accuracy == pytest.approx(mine.accuracy, abs=1 / 12)  # of 12 test images one may lie on the edge


def test_clients_count_by_their_samples(job_file: Path) -> None:
    job = Job.read(job_file)
    model = load(job, PromptedViT)
    clients = [plain.Client(number, model, job) for number in (0, 1)]
    for client, samples, value in zip(clients, (3, 1), (2.0, 6.0), strict=True):
        client.samples = samples
        client.model.receive({name: torch.full_like(v, value) for name, v in model.trained().items()})
    assert all(torch.all(value == 3.0) for value in plain.average(clients).values())  # (3 * 2 + 1 * 6) / 4


def test_no_client_trains_on_the_model_of_another(job_file: Path) -> None:
    job = Job.read(job_file)
    model = load(job, PromptedViT)
    one, other = (plain.Client(number, model, job) for number in (0, 1))
    one.learn(model.trained(), torch.Generator())
    assert not torch.equal(one.model.prompt, model.prompt)
    assert torch.equal(other.model.prompt, model.prompt)
