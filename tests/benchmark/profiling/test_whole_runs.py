"""Uncached samples give the same activations, and federations of all sizes have the same clients."""

import torch

from fedprompt.benchmark.backbone.samples import Samples
from fedprompt.benchmark.profiling.whole_runs import COHORT, PER_CLIENT, UncachedSamples, _federation, _measure_scale
from tests import toy


def test_cached_and_uncached_samples_give_the_same_activations():
    cached, uncached = (
        kind(toy.dataset().train_x, toy.dataset().train_y, toy.vit()) for kind in (Samples, UncachedSamples)
    )
    rows = torch.tensor([3, 0, 59])
    for layer in (1, 3):
        torch.testing.assert_close(uncached.tokens(rows, layer), cached.tokens(rows, layer), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(uncached.features(rows, layer), cached.features(rows, layer), rtol=1e-4, atol=1e-5)


def test_uncached_samples_run_the_backbone_each_time():
    vit = toy.fresh_vit()
    samples = UncachedSamples(toy.dataset().train_x, toy.dataset().train_y, vit)
    for times in (1, 2):
        samples.features(torch.tensor([1, 2]))
        assert vit.layers_run == times * 2 * vit.depth


def test_more_clients_include_the_same_first_clients():
    few, many = _federation(20), _federation(200)
    for federation in (few, many):
        assert {len(client.train) for client in federation.clients} == {PER_CLIENT}
    assert [c.train.tolist() for c in few.clients] == [c.train.tolist() for c in many.clients[:20]]


def test_a_measurement_of_scale_has_its_method_clients_and_local_bytes():
    measured = _measure_scale("fedper", clients=2 * COHORT, rounds=3)
    assert (measured.method, measured.clients) == ("fedper", 20)
    assert measured.own_bytes == 4 * (10 * 96 + 10)  # a head of ten classes on a width of 96
    assert min(measured.round_seconds, measured.score_seconds, measured.peak_mb) > 0
