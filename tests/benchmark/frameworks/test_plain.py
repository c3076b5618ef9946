import pytest
import torch

from fedprompt.benchmark.frameworks import ours, plain
from fedprompt.benchmark.frameworks.job import Job
from fedprompt.benchmark.frameworks.model import PromptedViT, load


def test_the_plain_loop_learns_the_same_as_our_executor(job_file):
    our, other = ours.run(job_file), plain.run(job_file)
    assert other.losses == pytest.approx(our.losses, abs=1e-3)  # up to round 3, after two aggregations
    assert len(our.losses) == 3
    assert our.losses[2] != pytest.approx(our.losses[0], abs=1e-2)  # the loss changes
    assert other.accuracy == pytest.approx(our.accuracy, abs=1 / 12)  # one of 12 test images may differ


def test_clients_are_weighted_by_their_samples(job_file):
    job = Job.read(job_file)
    model = load(job, PromptedViT)
    clients = [plain.Client(number, model, job) for number in (0, 1)]
    for client, samples, value in zip(clients, (3, 1), (2.0, 6.0), strict=True):
        client.samples = samples
        client.model.receive({name: torch.full_like(v, value) for name, v in model.trained().items()})
    assert all(torch.all(value == 3.0) for value in plain.average(clients).values())  # (3 * 2 + 1 * 6) / 4


def test_training_a_client_does_not_change_the_model_of_another(job_file):
    job = Job.read(job_file)
    model = load(job, PromptedViT)
    first, second = (plain.Client(number, model, job) for number in (0, 1))
    first.train(model.trained(), torch.Generator())
    assert not torch.equal(first.model.prompt, model.prompt)
    assert torch.equal(second.model.prompt, model.prompt)
