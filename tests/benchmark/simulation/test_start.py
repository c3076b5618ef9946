"""A simulation that starts from the state of an earlier one."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fedprompt.benchmark.simulation.simulator import Simulator
from fedprompt.benchmark.simulation.start import StartState, is_complete, kept_tensors
from fedprompt.methods import registry
from tests import toy

SHARED = ("fedvpt", "head+fedadam", "fedvpt+swa", "pfpt")
"""Clients keep nothing: one tensor of the server per parameter, memory of optimisers, a pool that grows."""
PERSONAL = ("apfl", "fedper", "fedpac", "fedmgp", "fedalt", "head+scaffold", "pfedfda")
"""Clients keep tensors, or the server does so per client."""
UNTRAINED = ("fed3r", "fedncm", "lda")
TWO_OF_FOUR = 0.5
registry.discover()
ALL = sorted(registry.METHODS)


def kept(run: Simulator, clients: bool = True) -> StartState:
    """The state of a simulation, as if it had been kept."""
    state, context = run.state, run.context
    return StartState(
        {name: value.clone() for name, value in kept_tensors(state, clients).items()},
        {part: list(states) for part, states in state.per_client.items()} if clients else {},
        state.rounds_trained.tolist() if is_complete(state, clients) else None,
        context.sampled(context.settings.rounds).tolist(),
        context.federation.hash,
    )


def measured(run: Simulator):
    """All scores of a simulation, and the rows of its clients."""
    outcome = run.outcome
    scores = (outcome.metrics, outcome.metrics_prior, outcome.metrics_prior_uncalibrated, outcome.temperature)
    return repr(scores), repr(outcome.clients)


def ran(method, **given):
    return toy.ran(method, **{"participation": TWO_OF_FOUR, "eval_every": 5, **given})


@pytest.mark.parametrize("method", [*SHARED, *PERSONAL, *UNTRAINED])
def test_without_rounds_a_kept_model_has_the_scores_of_its_run(method):
    source = ran(method)
    again = ran(method, rounds=0, start=kept(source))
    assert measured(again) == measured(source)
    assert [row["round"] for row in again.outcome.rounds] == [0]


@pytest.mark.parametrize("method", SHARED)
def test_the_servers_tensors_are_enough_where_clients_keep_nothing(method):
    source = ran(method)
    again = ran(method, rounds=0, start=kept(source, clients=False))
    assert measured(again) == measured(source)
    assert again.clients_start == "restored"


@pytest.mark.parametrize(
    "options", [{"standardize": "whiten"}, {"standardize": "features", "head_init": "ncm"}], ids=str
)
def test_the_kept_model_includes_the_standardisation_of_its_features(options):
    source = ran("fedper", **options)
    again = ran("fedper", rounds=0, start=kept(source), **options)
    assert measured(again) == measured(source)
    elsewhere = ran("fedvpt", rounds=0, start=kept(ran("fedvpt", **options)), of=toy.unequal(), **options)
    statistics = [elsewhere.context.vit.standardization, ran("fedvpt", **options).context.vit.standardization]
    assert torch.equal(statistics[0].mean, statistics[1].mean)
    assert torch.equal(statistics[0].scale, statistics[1].scale)


def test_without_the_clients_tensors_clients_start_fresh():
    source = ran("fedper")
    again = ran("fedper", rounds=0, start=kept(source, clients=False))
    assert again.clients_start == "fresh"
    assert again.state.local == {}
    assert again.state.rounds_trained.tolist() == [0] * 5
    # Nobody has trained, so all clients predict with the initial head of `fedper` and the source's shared tensors.
    untrained, shared = ran("fedper", rounds=0), again.state.server.shared
    assert all(torch.equal(value, source.state.server.shared[name]) for name, value in shared.items())
    local = untrained.state.initial_local
    for client in again.state.for_prediction(range(5)):
        assert all(torch.equal(client.local[name], value) for name, value in local.items())


def test_a_continued_run_trains_from_the_kept_state_with_the_cohorts_of_its_own_rounds():
    """One round from the kept state is the round that a new client of it would compute: the same update, averaged."""
    source = ran("head")
    run = toy.simulator("head", rounds=1, participation=TWO_OF_FOUR, eval_every=5, start=kept(source))
    run.run()
    expected = toy.simulator("head", rounds=1, participation=TWO_OF_FOUR, eval_every=5)
    expected.state.server = source.state.server
    updates = toy.learned(expected, expected.context.cohort(1), 1)
    weights = np.array([update.samples for update in updates], dtype=np.float64)
    for name in ("head.weight", "head.bias"):
        mean = sum(w * u.shared[name].double() for w, u in zip(weights / weights.sum(), updates, strict=True))
        torch.testing.assert_close(run.state.server[name].double(), mean)
    both = source.state.rounds_trained.copy()
    both[run.context.cohort(1)] += 1
    assert run.state.rounds_trained.tolist() == both.tolist()


def test_on_the_same_clients_those_sampled_before_count_as_trained():
    source = ran("head", rounds=1)
    same, other = (ran("head", rounds=0, start=kept(source), of=of) for of in (None, toy.unequal()))
    assert same.context.sampled(0).tolist() == source.context.cohort(1).tolist()
    assert same.outcome.metrics["trained"] == source.outcome.metrics["trained"] != None  # noqa: E711
    assert other.context.sampled(0).tolist() == []
    assert other.outcome.metrics["trained"] is None


@pytest.mark.parametrize("method", ["fedmgp", "fedpac", "fedper", "fedvpt+scaffold", "pfedpg"])
def test_on_other_clients_only_what_belongs_to_no_client_is_taken_over(method):
    source = ran(method)
    run = ran(method, rounds=0, start=kept(source), of=toy.unequal())
    assert run.clients_start == "fresh"
    fresh = toy.simulator(method, of=toy.unequal())
    assert run.state.server.keys() == fresh.state.server.keys()
    assert run.state.local == run.state.optimiser_local == {}
    for name, value in run.state.server.shared.items():
        assert torch.equal(value, source.state.server[name])
    for own, first in zip(run.state.optimiser_memory, fresh.state.optimiser_memory, strict=True):
        assert all(torch.equal(own[name], first[name]) for name in first)


def test_a_training_free_head_is_not_fitted_again_on_other_clients():
    source = ran("fedncm")
    run = ran("fedncm", rounds=0, start=kept(source), of=toy.unequal())
    assert run.outcome.upload_bytes == 0
    for name, value in source.state.server.items():
        assert torch.equal(run.state.server[name], value)


def test_a_run_that_continues_resumes_from_its_checkpoint_with_the_same_bits():
    start = kept(ran("fedper+scaffold"))
    whole = ran("fedper+scaffold", rounds=3, start=start)
    first = toy.simulator("fedper+scaffold", rounds=3, participation=TWO_OF_FOUR, eval_every=5, start=start)
    saved = {}

    def stop(number):
        if number == 1:
            saved.update(first.state_dict())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        first.run(stop)
    second = toy.simulator("fedper+scaffold", rounds=3, participation=TWO_OF_FOUR, eval_every=5, start=start)
    second.load_state_dict(saved)
    second.run()
    assert measured(second) == measured(whole)


def changed(start, name, value):
    tensors = dict(start.tensors)
    if value is None:
        del tensors[name]
    else:
        tensors[name] = value
    return replace(start, tensors=tensors)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("server/prompt", torch.zeros(3, 24), r"has prompt of shape \[3, 24\], float32; this run's has shape"),
        ("server/prompt", torch.zeros(10, 24, dtype=torch.float64), "float64; this run's"),
        ("server/prompt", None, "has no tensor prompt"),
        ("server/other", torch.zeros(1), "server/other"),
        ("optimiser/0/x", torch.zeros(1), "optimiser/0/x"),
        ("local/1/prompt", torch.zeros(1), "local/1/prompt"),
    ],
)
def test_tensors_that_do_not_fit_are_refused_by_name(name, value, words):
    start = changed(kept(ran("fedvpt")), name, value)
    with pytest.raises(ValueError, match=words):
        toy.simulator("fedvpt", start=start)


def test_clients_that_the_federation_does_not_have_are_refused():
    start = replace(kept(ran("fedvpt")), rounds_trained=[1, 2])
    with pytest.raises(ValueError, match="number of clients"):
        toy.simulator("fedvpt", start=start)


@pytest.mark.slow
@pytest.mark.parametrize("method", ALL)
def test_every_method_can_be_kept_and_evaluated_again(method):
    source = ran(method)
    assert measured(ran(method, rounds=0, start=kept(source))) == measured(source)
