"""knn-per: the vote compared with scikit-learn, the mixture, the datastore and the choice of lam."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.neighbors import KNeighborsClassifier

from fedprompt.benchmark.simulation.evaluation.datastore import with_datastore
from fedprompt.data.federation import Client
from fedprompt.methods.knn_per import KNNPer
from tests import toy

CLASSES, DIM = 4, 24


def new(settings=None, of=None, **changes):
    return toy.simulator(
        "knn-per", of=of or toy.unequal(), settings={"knn-per": settings} if settings else None, **changes
    )


def validated():
    """The unequal clients, the first two and the held-out one with some training rows set aside."""
    whole = toy.unequal()
    aside = {0: 6, 1: 3, 3: 4}
    clients = [
        replace(c, train=c.train[aside.get(k, 0) :], validation=c.train[: aside.get(k, 0)])
        for k, c in enumerate(whole.clients)
    ]
    counts = np.stack([np.bincount(toy.dataset().train_y[c.train], minlength=CLASSES) for c in clients])
    return replace(whole, clients=tuple(clients), counts=counts)


def states(simulator, clients, held_out=False):
    found = with_datastore(simulator.context, simulator.evaluator.tasks(simulator.state, np.array(clients)), held_out)
    return {subject.client: subject.state.tensors for subject in found}


def of_one(state):
    return {key: value[None] for key, value in state.items()}


def logits_of(simulator, client, state):
    """Of a client's training images: logits, the plain model's, and features."""
    batch, _ = toy.batch_of(simulator.context.method, simulator.make_tasks([client], 9))
    method, one = simulator.context.method, of_one(state)
    assert isinstance(method, KNNPer)
    plain = {key: value for key, value in one.items() if not key.startswith("remember")}
    found = [method.logits(simulator.context.vit, batch, one), method.logits(simulator.context.vit, batch, plain)]
    return found[0].numpy(), found[1].numpy(), method.feature(simulator.context.vit, batch, one).numpy()


@pytest.mark.parametrize(("neighbours", "scale", "lam"), [(10, 1.0, 0.5), (3, 0.05, 0.9), (100, 0.3, 0.2)])
def test_a_prediction_mixes_probabilities_with_scikit_learns_vote(neighbours, scale, lam):
    simulator = new({"neighbours": neighbours, "scale": scale, "lam": lam}, rounds=1)
    simulator.run()
    state = states(simulator, [0])[0]
    logits, plain, queries = logits_of(simulator, 2, state)  # another client's images
    _, _, own = logits_of(simulator, 0, state)
    labels = toy.dataset().train_y[simulator.context.federation.clients[0].train]
    judge = KNeighborsClassifier(min(neighbours, len(own)), weights=lambda d: np.exp(-(d**2) / (DIM * scale)))
    vote = judge.fit(own, labels).predict_proba(queries)
    assert judge.classes_.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(np.exp(logits), lam * vote + (1 - lam) * softmax(plain, 1), atol=1e-5)


def test_the_vote_does_not_underflow_at_large_distances():
    """The kernel itself underflows for all of them; the nearest, a tenth nearer than the others, has the vote."""
    state = {"remembered.feature": torch.tensor([[[1e3], [9e2]]]), "remembered.label": torch.tensor([[2, 1]])}
    batch, _ = toy.batch_of(KNNPer(), toy.simulator("fedvpt", of=toy.unequal()).make_tasks([0], 1), width=1)
    vote = KNNPer(scale=1e-3).vote(batch, torch.zeros(1, 1), {**state, "remembered": torch.tensor([[True, True]])})
    assert vote.tolist() == [[0, 1, 0, 0]]


def test_with_lam_zero_it_equals_fedvpt_exactly():
    plain, mixed = toy.simulator("fedvpt", of=toy.unequal()), new({"lam": 0.0})
    one, other = plain.run(), mixed.run()
    assert one.metrics == other.metrics
    assert one.metrics_prior == other.metrics_prior
    assert all(torch.equal(mixed.state.server[key], value) for key, value in plain.state.server.items())
    logits, without, _ = logits_of(mixed, 1, states(mixed, [1])[1])
    assert np.array_equal(logits, without)


def test_training_and_traffic_are_fedvpts():
    plain, mixed = toy.simulator("fedvpt", of=toy.unequal()), new()
    one, other = plain.run(), mixed.run()
    assert all(torch.equal(mixed.state.server[key], value) for key, value in plain.state.server.items())
    assert (one.upload_bytes, one.download_bytes) == (other.upload_bytes, other.download_bytes)


def test_clients_with_datastores_of_different_sizes_predict_together_as_alone():
    simulator = new(rounds=1)
    simulator.run()
    jobs = simulator.make_tasks([0, 1, 2], 9)
    together = states(simulator, [0, 1, 2])
    batch, _ = toy.batch_of(simulator.context.method, jobs, width=12)
    state = {key: torch.stack([together[k][key] for k in range(3)]) for key in together[0]}
    logits = simulator.context.method.logits(simulator.context.vit, batch, state).view(3, 12, CLASSES)
    for k, job in enumerate(jobs):
        one, _ = toy.batch_of(simulator.context.method, [job], width=12)
        alone = simulator.context.method.logits(simulator.context.vit, one, of_one(states(simulator, [k])[k]))
        torch.testing.assert_close(logits[k, : len(alone)].exp(), alone.exp(), atol=1e-5, rtol=1e-4)


def test_a_datastore_contains_exactly_the_clients_own_training_samples():
    simulator = new(of=validated(), rounds=1)
    simulator.run()
    for client, state in states(simulator, [0, 1, 2]).items():
        own = simulator.context.federation.clients[client].train
        assert state["remembered.label"][state["remembered"]].tolist() == toy.dataset().train_y[own].tolist()
        _, _, z = logits_of(simulator, client, state)
        np.testing.assert_allclose(state["remembered.feature"][state["remembered"]], z, atol=1e-5)


def test_the_weight_has_the_best_validation_accuracy_and_ties_go_nearest_to_lam():
    """Candidates 0.3, 0.2, 0.4, 0.1, 0.5, 0, 0.6 to 1: a tie of three, no samples, nothing right, one best."""
    method = KNNPer(lam=0.3, per_client=True)
    right = torch.tensor([[4, 5, 1, 5, 5, 0, 0, 0, 0, 0, 0, 6], [0] * 12, [0] * 11 + [3], [0] * 10 + [2, 3]])
    state = {"rehearsed": right, "remembered": torch.ones(4, 2, dtype=torch.bool)}
    np.testing.assert_allclose(method.vote_share(state), [0.2, 0.3, 0.3, 1.0])
    state["remembered"][3] = False
    assert method.vote_share(state)[3] == 0


def test_a_lam_between_the_candidates_is_one_of_them():
    assert KNNPer(lam=0.25).candidates == (0.25, 0.2, 0.3, 0.1, 0.4, 0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    assert KNNPer(lam=0.5).candidates[:3] == (0.5, 0.4, 0.6)


def test_without_per_client_validation_samples_change_nothing_so_a_tuned_lam_is_what_sweeps_use():
    simulator = new({"lam": 0.7}, of=validated(), rounds=1)
    outcome = simulator.run()
    assert [row["test_knn_share"] for row in outcome.clients] == pytest.approx([0.7, 0.7, 0.7, 0.0])
    assert all("rehearsed" not in state for state in states(simulator, [0, 1, 2]).values())


def test_candidates_are_evaluated_on_validation_samples_only():
    """Every candidate as a fixed share, scored by hand."""
    simulator = new({"per_client": True}, of=validated(), rounds=1)
    simulator.run()
    found = states(simulator, [0, 1, 2])
    assert found[2]["rehearsed"].tolist() == [0] * 12
    for client in (0, 1):
        rows = simulator.context.federation.clients[client].validation
        labels = toy.dataset().train_y[rows]
        job = replace(simulator.make_tasks([client], 9)[0], rows=rows)
        state = of_one({key: value for key, value in found[client].items() if key != "rehearsed"})
        right = []
        for lam in (0.5, 0.4, 0.6, 0.3, 0.7, 0.2, 0.8, 0.1, 0.9, 0.0, 1.0):
            batch, _ = toy.batch_of(simulator.context.method, [job])
            logits = KNNPer(lam=lam).logits(simulator.context.vit, batch, state)
            right.append(int((logits.argmax(1).numpy() == labels).sum()))
        assert found[client]["rehearsed"].tolist() == [*right, len(rows)]


def test_the_weight_of_the_vote_is_recorded_per_client():
    fixed = new({"lam": 0.7}, rounds=1).run()
    assert [row["test_knn_share"] for row in fixed.clients] == pytest.approx([0.7, 0.7, 0.7, 0.0])
    simulator = new({"per_client": True}, of=validated(), rounds=1)
    chosen = simulator.run()
    shares = [float(simulator.context.method.vote_share(of_one(s))) for s in states(simulator, [0, 1, 2]).values()]
    assert [row["test_knn_share"] for row in chosen.clients] == pytest.approx([*shares, 0])
    assert chosen.clients[2]["test_knn_share"] == pytest.approx(0.5)


def test_the_choice_of_lam_does_not_depend_on_test_labels():
    """Other test rows for every client leave shares and memories as they were."""
    of = validated()
    moved = replace(of, clients=tuple(replace(c, test=of.clients[k - 1].test) for k, c in enumerate(of.clients)))
    ends = []
    for federation in (of, moved):
        simulator = new({"per_client": True}, of=federation, rounds=1)
        simulator.run()
        ends.append(states(simulator, [0, 1, 2]))
    assert all(torch.equal(ends[0][k][key], ends[1][k][key]) for k in range(3) for key in ends[0][k])


def test_a_held_out_client_is_evaluated_without_and_with_its_own_samples():
    simulator, plain = new({"lam": 1.0}), toy.simulator("fedvpt", of=toy.unequal())
    outcome = simulator.run()
    assert outcome.metrics["held_out"] == plain.run().metrics["held_out"]
    tasks = simulator.evaluator.tasks(simulator.state, np.array([3]))
    trained, _ = simulator.evaluator.tuned(tasks, simulator.evaluator.personal_phase(simulator.state))
    state = with_datastore(simulator.context, trained, held_out=True)[0].state.tensors
    client: Client = simulator.context.federation.clients[3]
    batch, _ = toy.batch_of(simulator.context.method, simulator.make_tasks([3], 9))
    own = simulator.context.method.feature(simulator.context.vit, batch, of_one(state)).numpy()
    judge = KNeighborsClassifier(10, weights=lambda d: np.exp(-(d**2) / DIM))
    judge.fit(own, toy.dataset().train_y[client.train])
    batch.samples, batch.rows = toy.test_samples(), torch.from_numpy(client.test)
    batch.width = len(client.test)
    tested = simulator.context.method.feature(simulator.context.vit, batch, of_one(state)).numpy()
    accuracy = judge.score(tested, toy.dataset().test_y[client.test])
    assert outcome.metrics["held_out_personalised"]["mean"] == pytest.approx(accuracy)
    assert "remembered" not in states(simulator, [3])[3]


def test_a_client_without_labels_has_an_empty_datastore():
    simulator = new(rounds=1)
    simulator.run()
    subjects = simulator.evaluator.tasks(simulator.state, np.array([0, 1]))
    blind = replace(subjects[0], counts=np.zeros(CLASSES, np.int64))
    one, other = with_datastore(simulator.context, [blind, subjects[1]], held_out=False)
    assert not one.state.tensors["remembered"].any()
    assert other.state.tensors["remembered"].sum() == 10
    logits, plain, _ = logits_of(simulator, 0, one.state.tensors)
    assert np.array_equal(logits, plain)


def test_the_capacity_counts_samples_and_the_drawn_samples_are_reproducible():
    simulator = new({"capacity": 12}, rounds=1)
    simulator.run()
    first, second = states(simulator, [0, 1, 2]), states(simulator, [0, 1, 2])
    assert [int(state["remembered"].sum()) for state in first.values()] == [12, 10, 12]
    assert all(torch.equal(first[k][key], second[k][key]) for k in range(3) for key in first[k])
    assert len(set(first[0]["remembered.label"].tolist())) > 2  # not the first 12 rows, which are of two classes
