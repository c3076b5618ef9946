"""The bare loop that the simulator is measured against does the same work, and everything asked for is measured."""

import numpy as np
import pytest
import torch

from fedprompt.benchmark.profiling import throughput as perf
from fedprompt.benchmark.profiling.throughput import bare_loop, measure, operations
from fedprompt.benchmark.simulation.local_training import train_clients
from fedprompt.benchmark.simulation.tasks import ClientTask
from tests import toy


@pytest.mark.parametrize("plain", [False, True])
def test_the_bare_loop_ends_where_the_simulator_does(plain: bool) -> None:
    run = toy.simulator("fedvpt")
    (job,) = run.make_tasks([1], 1)
    job = ClientTask(**{**vars(job), "client": 7, "rng": np.random.default_rng(7)})  # whose order the bare loop takes
    training = toy.Training(epochs=1, batch_size=4, lr=0.05, momentum=0.9, weight_decay=0.01)
    (update,) = train_clients(run.context.recipe, run.context.vit, run.context.train, [job], training)
    bare = bare_loop(run.context.vit, run.context.train, job, training, plain)
    assert bare.keys() == update.shared.keys()
    for name, value in bare.items():
        torch.testing.assert_close(value, update.shared[name], rtol=1e-4, atol=1e-5)


def test_every_batch_and_cohort_is_measured_with_every_executor_beside_the_loops() -> None:
    found = measure(toy.vit(), [4, 8], [1, 3], repeats=1)
    cells = {(c.kind, c.batch, c.cohort) for c in found.cells}
    assert cells == {(kind, batch, cohort) for kind in perf.KINDS for batch in (4, 8) for cohort in (1, 3)}
    assert all(c.rate > 0 and c.share == c.rate / found.limit for c in found.cells)
    for rates in (found.bare, found.bare_all, found.timm, found.ratios["sequential_to_bare"]):
        assert rates.keys() == {4, 8}
        assert min(rates.values()) > 0
    assert min(found.evaluation, found.evaluation_bare, found.bound) > 0
    assert found.as_json()["limit"] == max([*found.bare.values(), *found.bare_all.values()])


def test_operations_are_those_of_the_matrix_products_counted_by_hand() -> None:
    """Width 24, 17 tokens and 10 prompts, 4 layers of which the last computes cls alone."""
    tokens, width = 27, 24
    qkv, proj, mlp = 3 * width * width, width * width, 8 * width * width
    attention = 2 * tokens * width  # scores and their use, a token
    block = tokens * (qkv + proj + mlp + attention)
    last = tokens * 2 * width * width + (width * width + proj + mlp) + attention
    assert operations(toy.vit()) == 2 * 2 * (3 * block + last)  # a product is two operations, backward as forward
