"""fedper, pvpt and local: VPT-shallow with shared and local parts."""

import pytest
import torch

from tests import toy

PROMPT, HEAD = {"prompt"}, {"head.weight", "head.bias"}


@pytest.mark.parametrize(
    ("name", "shared", "local"),
    [
        ("fedvpt", PROMPT | HEAD, set()),
        ("fedper", PROMPT, HEAD),
        ("pvpt", HEAD, PROMPT),
        ("local", set(), PROMPT | HEAD),
        ("head", HEAD, set()),
    ],
)
def test_shared_and_local_tensors_are_as_declared(name, shared, local):
    simulator = toy.simulator(name, of=toy.unequal(), rounds=1)
    outcome = simulator.run()
    assert set(simulator.state.server.tensors) == shared
    assert {key for state in simulator.state.local.values() for key in state} == local
    assert simulator.context.method.personalised == bool(local)
    sizes = {"prompt": 10 * 24, "head.weight": 4 * 24, "head.bias": 4}
    assert outcome.upload_bytes == outcome.download_bytes == 3 * 4 * sum(sizes[key] for key in shared)
    assert outcome.parameters == {"shared": sum(sizes[k] for k in shared), "local": sum(sizes[k] for k in local)}


def test_all_methods_of_the_family_start_from_the_same_model():
    starts = [toy.simulator(name) for name in ("fedvpt", "fedper", "pvpt", "local")]
    states = [{**start.state.server.tensors, **start.state.initial_local} for start in starts]
    for state in states[1:]:
        assert all(torch.equal(state[key], states[0][key]) for key in PROMPT | HEAD)


def test_local_clients_do_not_affect_each_other():
    """A client of a federation ends where it would end in a federation of other clients."""
    mine, theirs, others = toy.rows_of(0, 1), toy.rows_of(2), toy.rows_of(3)
    ends = []
    for rows in (theirs, others):
        simulator = toy.ran("local", of=toy.deal([mine, rows], [[0], [1]]))
        ends.append(simulator.state.local)
    assert all(torch.equal(ends[0][0][key], ends[1][0][key]) for key in PROMPT | HEAD)
    assert not torch.equal(ends[0][1]["prompt"], ends[1][1]["prompt"])


def test_a_held_out_client_has_no_model_if_nothing_is_shared():
    simulator = toy.simulator("local", of=toy.unequal(), rounds=1)
    outcome = simulator.run()
    assert outcome.metrics["held_out"] is None
    assert [row["accuracy"] == row["accuracy"] for row in outcome.clients] == [True, True, True, False]


def test_a_client_outside_the_cohort_keeps_its_local_tensors():
    simulator = toy.ran("pvpt", of=toy.unequal(), participation=1 / 3, rounds=1)
    (trained,) = simulator.state.local
    assert [job.state.local is simulator.state.initial_local for job in simulator.make_tasks([0, 1, 2], 2)] == [
        client != trained for client in range(3)
    ]
