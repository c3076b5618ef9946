"""Samples without caches give the same run, and scale is measured on one cohort among ever more clients."""

import torch

from fedprompt.benchmark.backbone.samples import Samples
from fedprompt.benchmark.profiling.whole_runs import COHORT, OWN, UncachedSamples, _at_scale, _federation
from tests import toy


def test_samples_that_keep_nothing_give_what_the_others_keep() -> None:
    kept, forgetful = (
        kind(toy.dataset().train_x, toy.dataset().train_y, toy.vit()) for kind in (Samples, UncachedSamples)
    )
    rows = torch.tensor([3, 0, 59])
    for layer in (1, 3):
        torch.testing.assert_close(forgetful.tokens(rows, layer), kept.tokens(rows, layer), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(forgetful.features(rows, layer), kept.features(rows, layer), rtol=1e-4, atol=1e-5)


def test_samples_that_keep_nothing_run_the_backbone_each_time() -> None:
    vit = toy.fresh_vit()
    samples = UncachedSamples(toy.dataset().train_x, toy.dataset().train_y, vit)
    for times in (1, 2):
        samples.features(torch.tensor([1, 2]))
        assert vit.layers_run == times * 2 * vit.depth


def test_more_clients_are_more_of_the_same_clients() -> None:
    few, many = _federation(20), _federation(200)
    for federation in (few, many):
        assert {len(client.train) for client in federation.clients} == {OWN}
    assert [c.train.tolist() for c in few.clients] == [c.train.tolist() for c in many.clients[:20]]


def test_a_measurement_at_scale_names_its_method_clients_and_own_tensors() -> None:
    found = _at_scale("fedper", clients=2 * COHORT, rounds=3)
    assert (found.method, found.clients) == ("fedper", 20)
    assert found.own_bytes == 4 * (10 * 96 + 10)  # a head of ten classes on a width of 96
    assert min(found.round_seconds, found.score_seconds, found.peak_mb) > 0
