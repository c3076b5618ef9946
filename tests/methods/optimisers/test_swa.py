import pytest
import torch

from fedprompt.benchmark.simulation.optimisers import evaluated
from fedprompt.methods.optimisers.swa import SWA
from tests import toy
from tests.methods import quadratic
from tests.methods.contract import same


def predicting(run, client=0):
    (state,) = run.state.for_prediction([client])
    return state.shared


def states(method, rounds, settings=None):
    """The server's shared tensors after each round, and the run."""
    run, seen = toy.simulator(method, rounds=rounds, settings=settings), []
    run.run(lambda number: seen.append(dict(run.state.server.shared)))
    return seen, run


def test_the_mean_of_the_last_two_states_by_hand():
    swa = SWA(states=2)
    memory = swa.memory({"w": torch.zeros(2)})
    for value, mean in (([2.0, 0.0], [2.0, 0.0]), ([4.0, 2.0], [3.0, 1.0]), ([8.0, 6.0], [6.0, 4.0])):
        after, memory = swa.server_step({"w": torch.zeros(2)}, {"w": torch.tensor(value)}, memory)
        assert after["w"].tolist() == value
        assert swa.evaluated(after, memory)["w"].tolist() == mean


def test_before_the_first_round_clients_predict_with_the_initial_state():
    run = toy.simulator("head+swa")
    assert same(predicting(run), run.state.server.shared)


def test_training_and_traffic_are_those_without_it():
    plain, averaged = (toy.ran(name, rounds=3) for name in ("head", "head+swa"))
    assert same(plain.state.server.shared, averaged.state.server.shared)
    assert plain.outcome.upload_bytes == averaged.outcome.upload_bytes
    assert plain.outcome.download_bytes == averaged.outcome.download_bytes


@pytest.mark.parametrize("method", ["head+swa", "head+fedavgm+swa"])
def test_seen_and_held_out_clients_predict_with_the_mean_of_the_last_states(method):
    after, run = states(method, 4, {"swa": {"states": 3}})
    for client in (int(run.context.federation.seen[0]), int(run.context.federation.held_out[0])):
        for name, value in predicting(run, client).items():
            torch.testing.assert_close(value, torch.stack([state[name] for state in after[-3:]]).mean(0))


def test_one_state_is_no_average():
    after, run = states("head+swa", 3, {"swa": {"states": 1}})
    assert same(predicting(run), after[-1])


def test_a_resumed_run_predicts_with_the_same_mean():
    run, again = toy.ran("head+swa", rounds=2), toy.simulator("head+swa", rounds=2)
    again.load_state_dict(run.state_dict())
    assert same(predicting(run), predicting(again))


class Shifted(SWA):
    """Clients predict with the server's tensors times three plus one."""

    def evaluated(self, shared, memory):
        return {name: 3 * value + 1 for name, value in shared.items()}


def test_named_last_it_averages_what_the_optimisers_before_it_make_of_the_state():
    from fedprompt.methods.registry import Recipe

    swa = SWA(states=2)
    memory = {"last.w": torch.tensor([[2.0], [4.0]]), "count": torch.tensor(2.0)}
    recipe = Recipe("quadratic", quadratic.Quadratic(), (Shifted(), swa))
    assert evaluated(recipe, {"w": torch.tensor([4.0])}, [{}, memory])["w"].tolist() == [10.0]
