"""`majority` and `posterior`, against their definitions in NumPy."""

import numpy as np
import pytest
import torch

from fedprompt.methods import MethodError, registry
from tests import toy


def test_majority_predicts_each_clients_most_frequent_training_class():
    federation = toy.unequal()
    outcome, labels = toy.simulator("majority", of=federation).run(), toy.dataset().test_y
    for k, client in enumerate(federation.clients):
        share = (labels[client.test] == federation.counts[k].argmax()).mean()
        assert outcome.clients[k]["accuracy"] == pytest.approx(share)
        assert outcome.clients[k]["accuracy_prior"] == pytest.approx(share)
    assert outcome.upload_bytes == outcome.download_bytes == 0
    assert sum(outcome.layers.values()) == 0, "reads no image"


def test_posterior_is_the_prior_times_the_similarity_to_pooled_class_means():
    federation = toy.unequal()
    run = toy.simulator("posterior", of=federation)
    outcome, labels = run.run(), toy.dataset().train_y
    tokens = {
        part: samples.features(torch.arange(len(samples)), 3).double().numpy()
        for part, samples in (("train", toy.train_samples()), ("test", toy.test_samples()))
    }  # layer J = 4 / 2 + 1
    rows = np.concatenate([federation.clients[k].train for k in federation.seen])  # not those of the held-out client
    means = np.stack([tokens["train"][rows[labels[rows] == c]].mean(0) for c in range(4)])
    centre = means.mean(0)
    unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)  # noqa: E731
    for k, client in enumerate(federation.clients):
        cosine = unit(tokens["test"][client.test] - centre) @ unit(means - centre).T
        prior = federation.counts[k] / federation.counts[k].sum()
        weights = prior * np.exp(cosine / 0.1)
        right = (weights.argmax(1) == toy.dataset().test_y[client.test]).mean()
        assert outcome.clients[k]["accuracy"] == pytest.approx(right)


def test_posterior_equals_the_mixing_weights_of_pep_fedpt_without_a_shared_prompt():
    """Before round 1, the class with the largest weight is the predicted class."""
    pep = toy.simulator("pep-fedpt:no-shared", of=toy.unequal(), rounds=0).run()
    own = toy.simulator("posterior", of=toy.unequal(), rounds=0).run()
    assert [row["accuracy"] for row in own.clients] == pytest.approx([row["test_mix_accuracy"] for row in pep.clients])


def test_posterior_never_predicts_a_class_without_a_prototype():
    federation = toy.deal([toy.rows_of(0, 1), toy.rows_of(2, 0)], [toy.rows_of(0, 2, part="test")] * 2, held_out=[1])
    outcome = toy.simulator("posterior", of=federation).run()
    labels = toy.dataset().test_y[federation.clients[1].test]
    assert outcome.clients[1]["accuracy"] <= (labels == 0).mean()  # class 2 is known to the held-out client only


def test_both_are_part_of_all_methods_and_of_the_trivial_family():
    assert {name for name in registry.expand(["all"]) if registry.create(name).method.family == "trivial"} == {
        "majority", "posterior"
    }  # fmt: skip


def test_posterior_refuses_a_layer_that_the_backbone_lacks():
    with pytest.raises(MethodError, match=r"posterior.layer=5 is out of range: this backbone takes 2 to 4"):
        toy.simulator("posterior", settings={"posterior": {"layer": 5}})
