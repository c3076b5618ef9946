"""The bare loop does the same work as the simulator, and every requested combination is measured."""

import numpy as np
import pytest
import torch

from fedprompt.benchmark.profiling import throughput as perf
from fedprompt.benchmark.profiling.throughput import bare_loop, measure, operations
from fedprompt.benchmark.simulation.tasks import ClientTask, LocalTraining
from tests import toy


@pytest.mark.parametrize("timm", [False, True])
def test_the_bare_loop_and_the_simulator_end_with_the_same_tensors(timm):
    run = toy.simulator("fedvpt")
    (task,) = run.make_tasks([1], 1)
    task = ClientTask(**{**vars(task), "client": 7, "rng": np.random.default_rng(7)})  # the bare loop uses this order
    training = LocalTraining(epochs=1, batch_size=4, lr=0.05, momentum=0.9, weight_decay=0.01)
    (update,) = toy.train(run, [task], training)
    bare = bare_loop(run.context.vit, run.context.train, task, training, timm)
    assert bare.keys() == update.shared.keys()
    for name, value in bare.items():
        torch.testing.assert_close(value, update.shared[name], rtol=1e-4, atol=1e-5)


def test_every_batch_and_cohort_is_measured_with_every_executor_and_loop():
    result = measure(toy.vit(), [4, 8], [1, 3], repeats=1)
    cells = {(c.kind, c.batch, c.cohort) for c in result.cells}
    assert cells == {(kind, batch, cohort) for kind in perf.KINDS for batch in (4, 8) for cohort in (1, 3)}
    assert all(c.rate > 0 and c.share == c.rate / result.limit for c in result.cells)
    for rates in (result.bare, result.bare_all, result.timm, result.ratios["sequential_to_bare"]):
        assert rates.keys() == {4, 8}
        assert min(rates.values()) > 0
    assert min(result.evaluation, result.evaluation_bare, result.bound) > 0
    assert result.as_json()["limit"] == max([*result.bare.values(), *result.bare_all.values()])


def test_operations_match_a_count_by_hand():
    """Width 24, 17 tokens and 10 prompts, 4 layers; the last computes only cls."""
    tokens, width = 27, 24
    qkv, proj, mlp = 3 * width * width, width * width, 8 * width * width
    attention = 2 * tokens * width  # scores and weighted sum, per token
    block = tokens * (qkv + proj + mlp + attention)
    last = tokens * 2 * width * width + (width * width + proj + mlp) + attention
    assert operations(toy.vit()) == 2 * 2 * (3 * block + last)  # multiply and add, forward and backward
