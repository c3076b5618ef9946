from copy import deepcopy

import numpy as np
import pytest
import torch
from torch.nn import functional

from fedprompt.methods import MethodError, registry
from tests import toy

NAMES = ("fedlora", "ffa-lora", "fedsa-lora", "flexlora")
COHORT = [0, 1, 2]
SCALE = 16 / 4  # alpha / r
every_lora = pytest.mark.parametrize("name", NAMES)


def ran(name, rounds=1, **changes):
    return toy.ran(name, of=toy.unequal(), rounds=rounds, **changes)


def start(name):
    """Before the first round."""
    return toy.simulator(name, of=toy.unequal())


def perturbed(state, names):
    """The same with random values in these tensors, other ones for each client."""
    generator = torch.Generator().manual_seed(1)
    return {
        name: torch.randn(value.shape, generator=generator) * 0.3 if name in names else value
        for name, value in state.items()
    }


def by_merging(rows, state, k):
    """Client k's logits by timm's own forward, with W + alpha/r B A in place of W in a copy of the model."""
    model = deepcopy(toy.vit().model)
    for layer, block in enumerate(model.blocks):
        for place, first in ((0, 0), (1, 48)):  # of the joint weight the rows 0..23 are of q, 24..47 of k, 48..71 of v
            update = SCALE * state["lora.B"][k, layer, place] @ state["lora.A"][k, layer, place]
            block.attn.qkv.weight.data[first : first + 24] += update
    pixels = toy.train_samples().pixels(torch.as_tensor(rows))
    feature = model.forward_features(pixels)[:, 0]
    return functional.linear(feature, state["head.weight"][k], state["head.bias"][k])


@every_lora
def test_logits_are_those_of_the_backbone_with_merged_weights(name):
    simulator = start(name)
    jobs = simulator.make_tasks(COHORT, 1)
    batch, state = toy.batch_of(simulator.context.method, jobs, width=10)
    state = perturbed(state, ("lora.A", "lora.B", "head.weight"))
    found = simulator.context.method.logits(toy.vit(), batch, state).view(3, 10, -1)
    for k, job in enumerate(jobs):
        torch.testing.assert_close(found[k], by_merging(job.rows[:10], state, k), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", [*NAMES, "fedadapter", "fedbias"])
def test_the_initial_model_is_the_frozen_backbone_with_a_linear_head(name):
    simulator = start(name)
    batch, state = toy.batch_of(simulator.context.method, simulator.make_tasks(COHORT, 1), width=10)
    head = toy.simulator("head").context.method
    torch.testing.assert_close(
        simulator.context.method.logits(toy.vit(), batch, state),
        head.logits(toy.vit(), batch, state),
        atol=1e-5,
        rtol=1e-5,
    )


@every_lora
def test_every_layer_and_place_of_every_trained_factor_learns(name):
    simulator = ran(name)
    batch, state = toy.batch_of(simulator.context.method, simulator.make_tasks([0], 2))
    trained = [key for key in ("lora.A", "lora.B") if key != "lora.A" or name != "ffa-lora"]
    state = {key: value.clone().requires_grad_(key in trained) for key, value in state.items()}
    loss = simulator.context.method.loss(toy.vit(), batch, state).mean()
    for gradient in torch.autograd.grad(loss, [state[key] for key in trained]):
        assert gradient[0].abs().amax((2, 3)).gt(1e-8).all()


@every_lora
def test_fused_clients_end_as_clients_alone(name):
    simulator = ran(name)
    ends = [toy.learned(simulator, COHORT, 2, kind) for kind in ("sequential", "fused")]
    for alone, fused in zip(*ends, strict=True):
        for key, value in {**alone.shared, **alone.local}.items():
            torch.testing.assert_close({**fused.shared, **fused.local}[key], value, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    ("name", "shared", "local"),
    [("fedlora", 1636, 0), ("flexlora", 1636, 0), ("ffa-lora", 868, 0), ("fedsa-lora", 768, 868)],
)
def test_parameter_counts_by_hand(name, shared, local):
    """4 layers x 2 places x 4 x 24 = 768 values in each of the two factors; the head has 4 x 25."""
    assert start(name).outcome.parameters == {"shared": shared, "local": local}


def test_at_rank_4_a_base_sized_transformer_takes_147_456_values():
    class Base:
        dim, depth, classes = 768, 12, 10

    factors = registry.create("fedlora").method.initial_factors(Base(), lambda _: torch.Generator())
    assert sum(factor.numel() for factor in factors) == 147_456


@pytest.mark.parametrize("rank", [25, 1000])
def test_a_rank_above_the_width_is_refused(rank):
    with pytest.raises(MethodError, match=rf"fedlora\.rank={rank} is out of range: this backbone takes 1 to 24"):
        toy.simulator("fedlora", settings={"fedlora": {"rank": rank}})


def products(simulator):
    """sum_k w_k B_k A_k of what clients of 21, 10 and 15 samples send, and the product that they then receive."""
    updates = toy.learned(simulator, COHORT, 1)
    mean = torch.zeros(4, 2, 24, 24)
    for share, update in zip((21 / 46, 10 / 46, 15 / 46), updates, strict=True):
        a = update.shared.get("lora.A", simulator.state.server.get("lora.A"))
        mean += share * update.shared["lora.B"] @ a
    after = ran(simulator.context.recipe.name).state.server.tensors
    return mean, after["lora.B"] @ after["lora.A"]


def test_ffa_lora_averages_the_products_by_averaging_one_factor():
    mean, received = products(start("ffa-lora"))
    torch.testing.assert_close(received, mean, atol=1e-6, rtol=1e-4)


def test_fedlora_does_not_average_the_products():
    mean, received = products(start("fedlora"))
    assert (received - mean).abs().max() > 1e-4


def test_the_frozen_factor_of_ffa_lora_does_not_change():
    simulator, drawn = ran("ffa-lora", rounds=2), start("ffa-lora").state.server["lora.A"]
    assert torch.equal(simulator.state.server["lora.A"], drawn)


def test_factor_b_and_the_head_of_fedsa_lora_are_not_communicated():
    """What travels, in either direction, are 768 values of A to and from each of three clients."""
    simulator = start("fedsa-lora")
    update = toy.learned(simulator, COHORT, 1)[0]
    assert update.shared.keys() == {"lora.A"}
    assert simulator.state.server.keys() == {"lora.A"}
    assert update.local.keys() == {"lora.B", "head.weight", "head.bias"}
    outcome = ran("fedsa-lora").outcome
    assert outcome.upload_bytes == outcome.download_bytes == 3 * 4 * 768


def test_a_held_out_client_of_fedsa_lora_uses_the_mean_factor_b():
    simulator = ran("fedsa-lora")
    (subject,) = simulator.evaluator.tasks(simulator.state, simulator.context.federation.held_out)
    factors = [simulator.state.local[k]["lora.B"].numpy() for k in COHORT]
    np.testing.assert_allclose(subject.state.tensors["lora.B"], np.mean(factors, axis=0), atol=1e-7)
