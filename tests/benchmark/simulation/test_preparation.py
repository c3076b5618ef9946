"""Standardised features and initial heads, compared with statistics of the pooled training data of seen clients."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fedprompt.benchmark.backbone.standardization import standardization
from fedprompt.benchmark.simulation import preparation
from fedprompt.benchmark.simulation.batch import Batch
from fedprompt.benchmark.simulation.local_training import client_info
from tests import toy

DIM = 24


def prepared(method="head", of=None, **options):
    """A simulation before its first round, and its outcome, with what seen clients send once."""
    run = toy.simulator(method, of=of or toy.unequal(), **options)
    run._prepare()
    return run


def raw(rows):
    return toy.train_samples().features(torch.as_tensor(rows)).double().numpy()


def seen_rows(federation):
    return np.concatenate([federation.clients[k].train for k in federation.seen])


def batch_of(run, clients=(0, 1)):
    tasks = run.make_tasks(clients, 1)
    return Batch(toy.train_samples(), [task.rows for task in tasks], client_info(tasks, run.context.vit)), tasks


def test_features_are_standardised_by_the_pooled_data_of_seen_clients():
    run = prepared(standardize="features")
    z = raw(seen_rows(toy.unequal()))
    batch, tasks = batch_of(run)
    own = raw(np.concatenate([task.rows for task in tasks]))
    out = run.context.vit.features(batch).numpy()[batch.mask.numpy()]
    np.testing.assert_allclose(out, (own - z.mean(0)) / z.std(0), atol=1e-4)


def test_prompted_features_and_all_read_tokens_are_standardised_by_the_same_numbers():
    run, plain = prepared(standardize="features"), toy.simulator("head")
    z = raw(seen_rows(toy.unequal()))
    batch, _ = batch_of(run)
    x = torch.cat([run.context.vit.embed(batch), torch.ones(len(batch.rows), 2, DIM)], 1)
    for read in (1, 3):
        ours, theirs = (one.context.vit.outputs(x, read).numpy() for one in (run, plain))
        np.testing.assert_allclose(ours, (theirs - z.mean(0)) / z.std(0), atol=1e-4)
    np.testing.assert_array_equal(run.context.vit.encode(x), run.context.vit.outputs(x, 1)[:, 0])


def test_tokens_inside_the_backbone_and_other_runs_keep_their_values():
    whitened, plain = prepared(standardize="whiten"), toy.simulator("head", of=toy.unequal())
    batch, _ = batch_of(whitened)
    for read in (lambda vit: vit.features(batch, 3), lambda vit: vit.frozen(batch, 3)):
        assert torch.equal(read(whitened.context.vit), read(plain.context.vit))
    expected = toy.train_samples().features(batch.rows)
    assert torch.equal(plain.context.vit.features(batch), expected)
    assert not torch.equal(whitened.context.vit.features(batch), expected)
    assert toy.vit().standardization is None


def test_whitened_features_use_the_covariance_of_seen_clients():
    run = prepared(standardize="whiten")
    z = raw(seen_rows(toy.unequal()))
    found = run.context.vit.standardization
    weight, s = found.shrinkage, np.cov(z.T, bias=True)
    shrunk = (1 - weight) * s + weight * np.trace(s) / DIM * np.eye(DIM)
    scale = found.scale.double().numpy()
    np.testing.assert_allclose(scale @ shrunk @ scale, np.eye(DIM), atol=1e-3)
    np.testing.assert_allclose(found.mean, z.mean(0), atol=1e-5)


def test_features_of_bf16_blocks_are_standardised_in_fp32():
    frozen = toy.fresh_vit(precision="bf16").view()
    x = torch.ones(3, 17, DIM)
    raw_output = frozen.encode(x)
    frozen.standardization = standardization(
        torch.tensor([2.0]), torch.ones(DIM).double(), 8 * torch.ones(DIM).double()
    )
    out = frozen.encode(x)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, (raw_output - 0.5) / 3.75**0.5)


def test_held_out_clients_contribute_nothing():
    federation = toy.unequal()
    clients = (*federation.clients[:3], replace(federation.clients[3], train=toy.rows_of(0)))
    other = prepared(of=replace(federation, clients=clients), standardize="features")
    assert torch.equal(
        other.context.vit.standardization.mean, prepared(standardize="features").context.vit.standardization.mean
    )


def test_a_client_without_samples_sends_nothing():
    trains = [toy.rows_of(0)[:6], [], toy.rows_of(1)[:5]]
    run = prepared(of=toy.deal(trains, [[0], [1], [2]]), standardize="features", head_init="ncm")
    assert run.outcome.upload_bytes == 2 * 8 * (2 * DIM + 1) + 2 * 4 * (DIM + 1)
    assert torch.isfinite(run.state.server["head.weight"]).all()


@pytest.mark.parametrize(
    ("options", "up", "down"),
    [
        ({"standardize": "features"}, 3 * 8 * (2 * DIM + 1), 3 * 4 * 2 * DIM),
        ({"standardize": "whiten"}, 3 * 8 * (DIM**2 + DIM + 1), 3 * 4 * (DIM**2 + DIM)),
        ({"head_init": "zero"}, 0, 0),
        ({"head_init": "ncm"}, (4 + 2 + 3) * 4 * (DIM + 1), 0),
        ({"head_init": "ridge"}, (4 + 2 + 3) * 8 * DIM + 3 * 8 * DIM**2, 0),
    ],
)
def test_what_seen_clients_send_and_receive_once_is_traffic(options, up, down):
    outcome = prepared(**options).outcome
    assert (outcome.upload_bytes, outcome.download_bytes) == (up, down)
    plain, run = toy.ran("head", of=toy.unequal()), toy.ran("head", of=toy.unequal(), **options)
    assert run.outcome.upload_bytes - plain.outcome.upload_bytes == up
    assert run.outcome.download_bytes - plain.outcome.download_bytes == down


def test_a_local_head_is_sent_to_every_seen_client_once():
    outcome = prepared("fedper", head_init="ncm").outcome
    assert outcome.download_bytes == 3 * 4 * (4 * DIM + 4)
    assert prepared("fedper", head_init="zero").outcome.download_bytes == 0
    assert prepared("ditto", head_init="ncm").outcome.download_bytes == 0  # has an averaged head, which is sent anyway


def class_means(z, labels):
    means = np.stack([z[labels == c].mean(0) if (labels == c).any() else np.zeros(DIM) for c in range(4)])
    return means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)


@pytest.mark.parametrize("standardize", ["none", "features"])
def test_the_initial_head_of_class_means_is_that_of_the_pooled_data(standardize):
    rows = seen_rows(toy.unequal())
    z = raw(rows)
    z = z if standardize == "none" else (z - z.mean(0)) / z.std(0)
    run = prepared(head_init="ncm", standardize=standardize)
    np.testing.assert_allclose(run.state.server["head.weight"], class_means(z, toy.dataset().train_y[rows]), atol=1e-4)
    assert not run.state.server["head.bias"].any()


def test_the_initial_head_of_ridge_regression_is_that_of_fed3r():
    server = toy.ran("fed3r:no-bias", of=toy.unequal(), standardize="features").state.server
    run = prepared(head_init="ridge", standardize="features")
    assert torch.equal(run.state.server["head.weight"], server["head.weight"])


@pytest.mark.parametrize("head_init", ["ncm", "ridge"])
def test_a_single_class_gives_a_finite_head_and_a_finite_run(head_init):
    trains = [toy.rows_of(0)[:6], toy.rows_of(0)[6:11]]
    run = toy.ran("head", of=toy.deal(trains, [[0], [1]]), head_init=head_init, standardize="whiten")
    assert run.outcome.preparation["heads"] == 1
    assert np.isfinite([row["train_loss"] for row in run.outcome.rounds[1:]]).all()


@pytest.mark.parametrize(
    "method", ["fedvpt", "fedper", "ditto", "fedpac", "fedrod", "fedproto", "pfpt", "sgpt", "local"]
)
def test_every_head_of_a_method_starts_from_the_chosen_one(method):
    run = prepared(method, head_init="ridge")
    expected = run.context.vit.initial_head["head.weight"]
    state = run.state.initial_server | run.state.initial_local
    found = [value for name, value in state.items() if name.endswith("head.weight")]
    assert found
    assert all(torch.equal(value, expected) for value in found)
    assert len(found) == run.outcome.preparation["heads"]


def test_a_method_that_trains_no_head_says_so_and_asks_for_no_sums():
    for method in ("fedncm", "majority"):
        outcome = prepared(method, head_init="ridge").outcome
        assert outcome.preparation == {"heads": 0}
        assert outcome.upload_bytes == 0


def test_without_the_options_nothing_is_prepared():
    run = prepared()
    assert (run.outcome.preparation, run.outcome.layers) == ({}, {})


@pytest.mark.parametrize("options", [{"standardize": "whiten"}, {"standardize": "features", "head_init": "ncm"}])
@pytest.mark.parametrize("method", ["fedvpt", "fedncm", "fedper+fedprox"])
def test_a_restarted_run_ends_with_the_same_bits(method, options):
    whole = toy.simulator(method, of=toy.unequal(), rounds=3, **options)
    saved = {}
    whole.run(lambda number: saved.update(whole.state_dict()) if number == 1 else None)
    again = toy.simulator(method, of=toy.unequal(), rounds=3, **options)
    again.load_state_dict(saved)
    again.run()
    assert [row["seen_mean"] for row in again.outcome.rounds] == [row["seen_mean"] for row in whole.outcome.rounds]
    for name, value in whole.state.server.items():
        assert torch.equal(again.state.server[name], value)
    for key in ("upload_bytes", "download_bytes", "preparation", "layers", "travelling"):
        assert getattr(again.outcome, key) == getattr(whole.outcome, key)


@pytest.mark.parametrize("standardize", ["features", "whiten"])
def test_fused_training_equals_sequential_training(standardize):
    runs = [
        toy.ran("fedvpt", of=toy.unequal(), executor=kind, standardize=standardize) for kind in ("sequential", "fused")
    ]
    for name, value in runs[0].state.server.items():
        torch.testing.assert_close(runs[1].state.server[name], value, atol=1e-4, rtol=1e-3)


def test_the_names_of_what_travels_show_the_option():
    travelling = prepared(standardize="features", head_init="ncm").outcome.travelling
    assert {name.partition(".")[0] for name in travelling["upload"]} == {"standardize", "head_init"}
    assert travelling["download"] == {"standardize.mean": [DIM], "standardize.scale": [DIM]}


def test_sums_are_the_same_with_few_clients_at_a_time(monkeypatch):
    whole = prepared(standardize="features").context.vit.standardization
    monkeypatch.setattr(preparation, "CLIENTS_AT_ONCE", 1)
    torch.testing.assert_close(prepared(standardize="features").context.vit.standardization.scale, whole.scale)
