from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import multivariate_normal

from fedprompt.benchmark.simulation.batch import Batch, Clients
from fedprompt.methods.components.prompt_mixing import (
    Prototypes,
    Similarity,
    posterior,
    similarities,
    soft_weights,
)
from tests import toy

CLASSES, WIDTH = 4, 6
CLIENTS, ROWS = 2, 5
PRIORS = torch.tensor([[0.5, 0.3, 0.0, 0.2], [0.0, 0.1, 0.9, 0.0]])
EVERY_CLASS = torch.ones(CLIENTS, CLASSES)
UNIFORM = torch.full((CLIENTS, CLASSES), 1 / CLASSES)
SIMILARITIES: list[Similarity] = ["centred-cosine", "cosine", "gaussian"]


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def z(rng):
    return torch.randn(CLIENTS * ROWS, WIDTH, generator=rng)


@pytest.fixture
def prototypes(rng):
    return torch.randn(CLIENTS, CLASSES, WIDTH, generator=rng) + 1


def batch_with(prior):
    """Five rows of each client; only their owners, labels and priors matter here."""
    rows = [np.arange(k * ROWS, (k + 1) * ROWS) for k in range(len(prior))]
    counts = (prior > 0).long().numpy()
    return Batch(toy.train_samples(), rows, replace(Clients.of(counts, prior.device), prior=prior))


def centres(prototypes, known):
    """The mean [K, D] of each client's known prototypes."""
    return torch.stack([own[seen > 0].mean(0) for own, seen in zip(prototypes, known, strict=True)])


def weights_of(
    z, prototypes, prior, known=EVERY_CLASS, mixing="posterior", similarity="centred-cosine", tau=0.1, variance=1.0
):
    """Soft weights [K, B / K, C] over all classes, as where every row of the prototypes has travelled."""
    batch = batch_with(prior)
    received = Prototypes(prototypes, known, centres(prototypes, known), torch.full((len(prior),), variance))
    weights = soft_weights(batch, z, prior, received, mixing=mixing, similarity=similarity, tau=tau)
    return weights.view(len(prior), ROWS, -1).numpy()


def cosines(z, mu):
    """Cosine [B, C] between every z and every mu."""
    return np.array([[a @ b / (np.linalg.norm(a) * np.linalg.norm(b)) for b in mu] for a in z])


shares = arrays(np.float32, CLASSES, elements=st.sampled_from([0, 1, 2, 5])).filter(np.any).map(lambda n: n / n.sum())
masks = arrays(np.float32, CLASSES, elements=st.sampled_from([0, 1]))
scores_of_classes = arrays(np.float32, CLASSES, elements=st.floats(-50, 50, width=32))


@given(scores_of_classes, shares, masks)
def test_the_posterior_is_the_normalised_product_of_prior_and_likelihood(scores, prior, known):
    weights = posterior(*(torch.from_numpy(v)[None] for v in (scores, prior, known)))[0].numpy()
    assert weights.sum() == pytest.approx(1, abs=1e-5)
    usable = prior * known > 0
    if not usable.any():
        np.testing.assert_allclose(weights, prior, atol=1e-6)
        return
    assert (weights[~usable] == 0).all()
    product = prior.astype(float) * known * np.exp(scores.astype(float) - scores[usable].max())
    np.testing.assert_allclose(weights, product / product.sum(), atol=1e-5)


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("mixing", ["posterior", "prior", "prototype", "hard", "uniform", "oracle"])
def test_weights_of_every_rule_sum_to_one(z, prototypes, mixing, similarity):
    known = torch.tensor([[1.0, 0, 1, 1], [1, 0, 0, 0]])  # the second client owns no class that has a prototype
    weights = weights_of(z, prototypes, PRIORS, known, mixing, similarity)
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-6)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_a_class_without_prior_or_prototype_gets_no_weight(z, prototypes, similarity):
    known = torch.tensor([[0.0, 1, 1, 1], [1, 1, 1, 1]])
    weights = weights_of(z, prototypes, PRIORS, known, similarity=similarity)
    assert (weights[0][:, [0, 2]] == 0).all()
    assert (weights[1][:, [0, 3]] == 0).all()
    assert (weights[0][:, [1, 3]] > 0).all()


def test_weights_are_the_prior_if_no_class_of_the_client_has_a_prototype(z, prototypes):
    known = torch.tensor([[1.0, 1, 1, 1], [1, 0, 0, 1]])
    weights = weights_of(z, prototypes, PRIORS, known)
    np.testing.assert_allclose(weights[1], np.tile(PRIORS[1], (ROWS, 1)), atol=1e-7)
    assert not np.allclose(weights[0], PRIORS[0], atol=1e-2)


@pytest.mark.parametrize("similarity", ["centred-cosine", "cosine"])
def test_with_infinite_temperature_the_weights_are_the_prior(z, prototypes, similarity):
    for prior in (PRIORS, UNIFORM):
        weights = weights_of(z, prototypes, prior, similarity=similarity, tau=1e7)
        np.testing.assert_allclose(weights, prior[:, None].expand(-1, ROWS, -1), atol=1e-6)


@pytest.mark.parametrize("similarity", ["centred-cosine", "cosine"])
def test_a_vanishing_temperature_selects_the_nearest_prototype_of_the_clients_classes(z, prototypes, similarity):
    weights = weights_of(z, prototypes, PRIORS, similarity=similarity, tau=1e-6)
    for k in range(CLIENTS):
        mu, own = prototypes[k].numpy(), z.numpy()[k * ROWS : (k + 1) * ROWS]
        centre = mu.mean(0) if similarity == "centred-cosine" else np.zeros(WIDTH)
        near = np.where(PRIORS[k] > 0, cosines(own - centre, mu - centre), -np.inf).argmax(1)
        np.testing.assert_array_equal(weights[k], np.eye(CLASSES)[near])


def test_a_vanishing_variance_selects_the_nearest_prototype_of_the_clients_classes(z, prototypes):
    weights = weights_of(z, prototypes, PRIORS, similarity="gaussian", variance=1e-5)
    for k in range(CLIENTS):
        distances = np.linalg.norm(z.numpy()[k * ROWS : (k + 1) * ROWS, None] - prototypes[k].numpy(), axis=-1)
        near = np.where(PRIORS[k] > 0, distances, np.inf).argmin(1)
        np.testing.assert_array_equal(weights[k], np.eye(CLASSES)[near])


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("mixing", ["posterior", "hard", "prior"])
def test_a_client_of_one_class_gives_it_all_the_weight(z, prototypes, mixing, similarity):
    weights = weights_of(z * 100, prototypes, torch.eye(CLASSES)[[2, 0]], mixing=mixing, similarity=similarity)
    np.testing.assert_array_equal(weights[0], np.eye(CLASSES)[[2] * ROWS])
    np.testing.assert_array_equal(weights[1], np.eye(CLASSES)[[0] * ROWS])


@pytest.mark.parametrize("variance", [0.5, 3.0])
def test_gaussian_weights_are_the_posterior_of_gaussian_classes(z, prototypes, variance):
    weights = weights_of(z, prototypes, PRIORS, similarity="gaussian", variance=variance)
    for k in range(CLIENTS):
        own = z.numpy()[k * ROWS : (k + 1) * ROWS]
        classes = [multivariate_normal(mean, variance * np.eye(WIDTH)) for mean in prototypes[k].numpy()]
        joint = PRIORS[k].numpy() * np.stack([c.pdf(own) for c in classes], axis=1)
        np.testing.assert_allclose(weights[k], joint / joint.sum(1, keepdims=True), atol=1e-5)


def test_centred_cosine_subtracts_the_mean_of_known_prototypes_from_both_sides(z, prototypes):
    known = torch.tensor([[1.0, 1, 0, 1], [1, 0, 1, 1]])
    tau = 0.3
    received = Prototypes(prototypes, known, centre=centres(prototypes, known))
    scores = similarities(batch_with(PRIORS), z, received, "centred-cosine", tau)
    for k in range(CLIENTS):
        mu, seen = prototypes[k].numpy(), known[k].numpy() > 0
        centre = mu[seen].mean(0)
        expected = cosines(z.numpy()[k * ROWS : (k + 1) * ROWS] - centre, mu - centre) / tau
        own = scores[k * ROWS : (k + 1) * ROWS].numpy()
        np.testing.assert_allclose(own[:, seen], expected[:, seen], atol=1e-5)


def test_plain_cosine_is_divided_by_the_temperature(z, prototypes):
    scores = similarities(batch_with(PRIORS), z, Prototypes(prototypes, EVERY_CLASS), "cosine", 0.3).numpy()
    for k in range(CLIENTS):
        own = slice(k * ROWS, (k + 1) * ROWS)
        np.testing.assert_allclose(scores[own], cosines(z.numpy()[own], prototypes[k].numpy()) / 0.3, atol=1e-5)


def test_ablations_omit_what_their_names_say(z, prototypes):
    full = weights_of(z, prototypes, PRIORS)
    hard = weights_of(z, prototypes, PRIORS, mixing="hard")
    np.testing.assert_array_equal(hard, np.eye(CLASSES)[full.argmax(-1)])
    prior = weights_of(z, prototypes, PRIORS, mixing="prior")
    np.testing.assert_array_equal(prior, PRIORS[:, None].expand(-1, ROWS, -1))
    uniform = weights_of(z, prototypes, UNIFORM, mixing="uniform")
    np.testing.assert_array_equal(uniform, np.full((CLIENTS, ROWS, CLASSES), 0.25))
    prototype = weights_of(z, prototypes, UNIFORM, mixing="prototype")
    np.testing.assert_allclose(prototype, weights_of(z, prototypes, UNIFORM), atol=1e-7)
    assert not np.allclose(prototype, full, atol=1e-2)


def test_the_oracle_uses_the_label(z, prototypes):
    weights = weights_of(z, prototypes, PRIORS, mixing="oracle")
    labels = toy.dataset().train_y[: CLIENTS * ROWS].reshape(CLIENTS, ROWS)
    np.testing.assert_array_equal(weights, np.eye(CLASSES)[labels])


@pytest.mark.parametrize("similarity", ["centred-cosine", "gaussian"])
def test_a_similarity_without_its_inputs_is_an_error(z, prototypes, similarity):
    with pytest.raises(ValueError, match="needs the"):
        similarities(batch_with(PRIORS), z, Prototypes(prototypes, EVERY_CLASS), similarity, 0.3)


@pytest.mark.parametrize("mixing", ["posterior", "prototype", "hard"])
def test_a_rule_that_compares_samples_needs_prototypes(z, mixing):
    with pytest.raises(ValueError, match="needs prototypes"):
        soft_weights(batch_with(PRIORS), z, PRIORS, None, mixing=mixing, similarity="cosine", tau=0.1)
    weights = soft_weights(batch_with(PRIORS), z, PRIORS, None, mixing="prior", similarity="cosine", tau=0.1)
    assert weights.shape == (CLIENTS * ROWS, CLASSES)
