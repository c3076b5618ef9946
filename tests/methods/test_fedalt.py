import numpy as np
import pytest
import torch

from fedprompt.methods import Uploads, registry
from tests import toy

COHORT = [0, 1, 2]
KEYS = [f"lora.{factor}.{target}" for target in ("q", "v") for factor in "AB"]


def ran(rounds=1, **changes):
    return toy.ran("fedalt", of=toy.unequal(), rounds=rounds, **changes)


def mean_of(simulator, clients, key):
    return np.mean([simulator.state.local[client][key].numpy() for client in clients], axis=0)


@pytest.mark.parametrize("key", KEYS)
def test_a_client_receives_the_plain_mean_of_the_other_clients_loras(key):
    simulator = ran(rounds=2)
    for client in COHORT:
        found = simulator.state.received(client)[f"others.{key}"]
        others = [other for other in COHORT if other != client]
        np.testing.assert_allclose(found, mean_of(simulator, others, key), atol=1e-6)


@pytest.mark.parametrize("key", KEYS)
def test_a_held_out_client_has_the_mean_of_all_clients(key):
    simulator = ran()
    (subject,) = simulator.evaluator.tasks(simulator.state, simulator.context.federation.held_out)
    for name in (key, f"others.{key}"):
        np.testing.assert_allclose(subject.state.tensors[name], mean_of(simulator, COHORT, key), atol=1e-6)


def test_the_individual_lora_is_never_replaced():
    simulator = ran()
    for job in simulator.make_tasks(COHORT, 2):
        assert all(torch.equal(job.state.local[key], simulator.state.local[job.client][key]) for key in KEYS)


def test_the_server_keeps_the_latest_lora_of_each_client_by_hand():
    """Client 2 uploads 5 (a sum over 2 samples of 10), then client 0 uploads 1; client 1 never does."""
    method = registry.create("fedalt", {"fedalt": {"rank": 1, "targets": "v"}}).method
    server = {
        **{f"latest.lora.{factor}.v": torch.zeros(3, 1) for factor in "AB"},
        **{f"others.lora.{factor}.v": torch.zeros(1) for factor in "AB"},
        "uploaded": torch.zeros(3),
    }

    def others(server, client):
        return method.download(server, client)["others.lora.A.v"].item()

    assert [others(server, client) for client in (0, 1, 2, None)] == [0, 0, 0, 0]
    for client, samples, value in ((2, 2.0, 10.0), (0, 4.0, 4.0)):
        reports = {f"latest.lora.{factor}.v": torch.tensor([[value]]) for factor in "AB"}
        server = method.combine(server, Uploads([client], torch.tensor([samples]), {}, {}, reports))
        if client == 2:
            assert [others(server, k) for k in (0, 1, 2, None)] == [5, 5, 0, 5]
    assert [others(server, k) for k in (0, 1, 2, None)] == [5, 3, 1, 3]


def test_each_client_uploads_and_downloads_one_lora_and_no_head_or_mixer():
    """A and B have 4 layers x 2 targets x 2 x 4 x 24 = 1536 values; mixers 4 x 2 x 2 x 24 = 384, the head 100."""
    outcome = ran().outcome
    assert outcome.parameters == {"shared": 0, "local": 1536 + 384 + 100}
    assert outcome.upload_bytes == outcome.download_bytes == 3 * 4 * 1536


def test_the_uploaded_lora_is_the_trained_one():
    updates = toy.learned(toy.simulator("fedalt", of=toy.unequal()), COHORT, 1, "fused")
    for update, samples in zip(updates, (21, 10, 15), strict=True):
        for key in KEYS:
            sent = update.reports[f"latest.{key}"] / samples
            torch.testing.assert_close(sent, update.local[key], atol=1e-7, rtol=1e-6)


def prepared(mix):
    """Logits of clients with random LoRAs of both kinds, after `mix(state)` has changed the state."""
    simulator = toy.simulator("fedalt", of=toy.unequal())
    method, generator = simulator.context.method, torch.Generator().manual_seed(0)
    batch, state = toy.batch_of(method, simulator.make_tasks(COHORT, 1), width=10)
    loras = [key for key in state if "lora" in key]
    state |= {key: 0.3 * torch.randn(state[key].shape, generator=generator) for key in loras}
    mix(state)
    return method.logits(toy.vit(), batch, state), batch, state


def of_fedlora(batch, state):
    return registry.create("fedlora").method.logits(toy.vit(), batch, state)


def test_two_equal_loras_give_a_plain_lora_whatever_the_mixer():
    def equal(state):
        state |= {f"others.{key}": state[key] for key in KEYS}

    logits, batch, state = prepared(equal)
    torch.testing.assert_close(logits, of_fedlora(batch, state), atol=1e-5, rtol=1e-4)


def test_the_mixer_weights_each_token_by_a_softmax_first_the_others_lora_then_the_individual_one():
    _, batch, state = prepared(lambda state: None)
    x = torch.randn(30, 5, 24, generator=torch.Generator().manual_seed(1))
    found = registry.create("fedalt").method.update(batch, x, state, "v", layer=2)
    for row, client in ((0, 0), (13, 1), (29, 2)):  # 10 rows per client
        own = {name: value[client, 1] for name, value in state.items() if name.endswith(".v")}
        for token, vector in enumerate(x[row]):
            weight = torch.exp(own["mixer.v"] @ vector)
            others, individual = (
                own[f"{kind}lora.B.v"] @ (own[f"{kind}lora.A.v"] @ vector) for kind in ("others.", "")
            )
            expected = (weight[0] * others + weight[1] * individual) / weight.sum()
            torch.testing.assert_close(found[row, token], expected, atol=1e-5, rtol=1e-4)


def test_before_any_upload_the_others_lora_is_zero_and_the_model_is_the_frozen_one():
    simulator = toy.simulator("fedalt", of=toy.unequal())
    batch, state = toy.batch_of(simulator.context.method, simulator.make_tasks(COHORT, 1), width=10)
    assert not any(value.any() for key, value in state.items() if key.startswith("others"))
    head = registry.create("head").method
    logits = simulator.context.method.logits(toy.vit(), batch, state)
    torch.testing.assert_close(logits, head.logits(toy.vit(), batch, state), atol=1e-5, rtol=1e-5)


def test_the_variant_of_the_official_code_has_rank_8_and_four_times_the_product():
    method = registry.create("fedalt:paper").method
    assert (method.rank, method.scale, method.targets) == (8, 4.0, "q,v")
