import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from fedprompt.benchmark.config.options import options
from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.frameworks.job import Job
from fedprompt.benchmark.frameworks.plan import build
from fedprompt.benchmark.runs import execute as runner

from .conftest import PLAN


def test_clients_cohorts_and_initial_tensors_are_those_of_our_run(job_file):
    job = Job.read(job_file)
    run = runner.simulator(options(job.options).grid()[0])
    assert [list(client.train) for client in run.context.federation.clients] == job.train
    assert [list(client.test) for client in run.context.federation.clients] == job.test
    assert [list(run.context.cohort(number)) for number in (1, 2, 3)] == job.cohorts
    initial = load_file(job.initial)
    assert initial.keys() == {"prompt", "head.weight", "head.bias"}
    assert all(torch.equal(run.state.server[name], value) for name, value in initial.items())


def test_the_arrays_of_a_job_are_those_of_our_data_set(job_file):
    job = Job.read(job_file)
    with np.load(options(job.options).grid()[0].dataset.removeprefix("npz:")) as archive:
        assert archive["train_x"].shape == (24, 32, 32, 3)
        assert all(np.array_equal(archive[name], job.array(name)) for name in archive.files)


def test_a_cohort_larger_than_the_federation_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="--cohort 2: there are 1 clients"):
        build(PLAN, clients=1, seed=0, threads=1, folder=tmp_path)
