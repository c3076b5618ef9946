from copy import deepcopy

import numpy as np
import pytest
import torch
from torch.nn import functional

from fedprompt.methods import MethodError, registry
from tests import toy

NAMES = ("fedlora", "ffa-lora", "fedsa-lora", "flexlora", "fedex-lora", "lora-fair")
COHORT = [0, 1, 2]
LINEAR = "q,k,v,proj,fc1,fc2"
every_lora = pytest.mark.parametrize("name", NAMES)


def ran(name, rounds=1, **changes):
    return toy.ran(name, of=toy.unequal(), rounds=rounds, **changes)


def start(name, **fields):
    """Before the first round."""
    return toy.simulator(name, of=toy.unequal(), settings={name.partition(":")[0]: fields})


def perturbed(state):
    """The same with random factors and heads, other ones for each client."""
    generator = torch.Generator().manual_seed(1)
    return {
        name: torch.randn(value.shape, generator=generator) * 0.3
        if name.startswith(("lora.", "head.weight"))
        else value
        for name, value in state.items()
    }


def weight_of(block, target):
    """The weight of a target layer; of the joint weight, rows 0..23 are of q, 24..47 of k, 48..71 of v."""
    if target in ("q", "k", "v"):
        first = 24 * ("q", "k", "v").index(target)
        return block.attn.qkv.weight.data[first : first + 24]
    return {"proj": block.attn.proj, "fc1": block.mlp.fc1, "fc2": block.mlp.fc2}[target].weight.data


def by_merging(rows, state, k, scale, targets):
    """Client k's logits by timm's own forward, with W + scale B A in place of W in a copy of the model."""
    model = deepcopy(toy.vit().model)
    for layer, block in enumerate(model.blocks):
        for target in targets:
            update = state[f"lora.B.{target}"][k, layer] @ state[f"lora.A.{target}"][k, layer]
            weight_of(block, target).add_(scale * update)
    pixels = toy.train_samples().pixels(torch.as_tensor(rows))
    feature = model.forward_features(pixels)[:, 0]
    return functional.linear(feature, state["head.weight"][k], state["head.bias"][k])


@pytest.mark.parametrize(
    ("name", "fields", "scale", "targets"),
    [
        *((name, {}, 2.0, ["q", "v"]) for name in NAMES),
        ("fedlora", {"rank": 3, "targets": LINEAR}, 2.0, LINEAR.split(",")),
        ("fedlora", {"rank": 3, "alpha": 12.0, "targets": "proj, fc2"}, 4.0, ["proj", "fc2"]),
        ("fedlora:fedit", {}, 1.0, ["q"]),
        ("flexlora:paper", {}, 2.0, LINEAR.split(",")),
        ("fedsa-lora:paper", {}, 2.0, ["q", "v"]),
    ],
)
def test_logits_are_those_of_the_backbone_with_merged_weights(name, fields, scale, targets):
    simulator = start(name, **fields)
    jobs = simulator.make_tasks(COHORT, 1)
    batch, state = toy.batch_of(simulator.context.method, jobs, width=10)
    state = perturbed(state)
    found = simulator.context.method.logits(toy.vit(), batch, state).view(3, 10, -1)
    for k, job in enumerate(jobs):
        expected = by_merging(job.rows[:10], state, k, scale, targets)
        torch.testing.assert_close(found[k], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "rank", "targets"),
    [("fedlora:fedit", 16, "q"), ("flexlora:paper", 8, LINEAR), ("fedsa-lora:paper", 8, "q,v")],
)
def test_the_ranks_and_targets_of_the_papers_are_variants(name, rank, targets):
    method = registry.create(name).method
    assert (method.rank, method.targets) == (rank, targets)


@every_lora
def test_the_whole_family_has_the_same_defaults(name):
    method = registry.create(name).method
    assert (method.rank, method.scale, method.targets) == (4, 2.0, "q,v")


def test_by_default_the_scale_does_not_depend_on_the_rank():
    assert registry.create("fedlora", {"fedlora": {"rank": 16}}).method.scale == 2
    assert registry.create("fedlora", {"fedlora": {"rank": 16, "alpha": 4.0}}).method.scale == 0.25


def test_the_factor_of_a_target_does_not_depend_on_the_other_targets():
    one, other = (start("fedlora", targets=targets).state.server for targets in ("q,v", "fc1,v"))
    assert torch.equal(one["lora.A.v"], other["lora.A.v"])
    assert not torch.equal(one["lora.A.v"], one["lora.A.q"])


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ("q,w", r"fedlora\.targets=q,w: 'w' is unknown; choose from q, k, v, proj, fc1, fc2\."),
        ("", r"fedlora\.targets=: '' is unknown; choose from q, k, v, proj, fc1, fc2\."),
        ("q,v,q", r"fedlora\.targets=q,v,q names 'q' twice; name each of q, k, v, proj, fc1, fc2 once\."),
    ],
)
def test_unknown_and_repeated_targets_are_refused_with_the_list(targets, message):
    with pytest.raises(MethodError, match=message):
        start("fedlora", targets=targets)


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


@pytest.mark.parametrize("name", [*NAMES, "flexlora:paper"])
def test_every_layer_and_target_of_every_trained_factor_learns(name):
    simulator = ran(name)
    batch, state = toy.batch_of(simulator.context.method, simulator.make_tasks([0], 2))
    trained = [key for key in state if key.startswith("lora.B" if name == "ffa-lora" else "lora.")]
    state = {key: value.clone().requires_grad_(key in trained) for key, value in state.items()}
    loss = simulator.context.method.loss(toy.vit(), batch, state).mean()
    for gradient in torch.autograd.grad(loss, [state[key] for key in trained]):
        assert gradient[0].abs().amax((1, 2)).gt(1e-8).all()


@every_lora
def test_fused_clients_end_as_clients_alone(name):
    simulator = ran(name)
    ends = [toy.learned(simulator, COHORT, 2, kind) for kind in ("sequential", "fused")]
    for alone, fused in zip(*ends, strict=True):
        for key, value in {**alone.shared, **alone.local}.items():
            torch.testing.assert_close({**fused.shared, **fused.local}[key], value, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    ("name", "shared", "local"),
    [
        ("fedlora", 1636, 0),
        ("flexlora", 1636, 0),
        ("fedex-lora", 1636, 0),
        ("lora-fair", 1636, 0),
        ("ffa-lora", 868, 0),
        ("fedsa-lora", 768, 868),
    ],
)
def test_parameter_counts_by_hand(name, shared, local):
    """4 layers x 2 targets x 4 x 24 = 768 values in each of the two factors; the head has 4 x 25."""
    assert start(name).outcome.parameters == {"shared": shared, "local": local}


def test_parameter_counts_of_all_linear_layers_by_hand():
    """Four layers of 24 x 24 have 2 x 24 r values, the two of the MLP (24 + 96) r: (192 + 240) x 8 in each block."""
    assert start("flexlora:paper").outcome.parameters["shared"] == 4 * 432 * 8 + 100


def test_at_rank_4_a_base_sized_transformer_takes_147_456_values():
    class Base:
        dim, depth, classes, hidden = 768, 12, 10, 3072

    method = registry.create("fedlora").method
    factors = {**method.initial_a(Base(), lambda _: torch.Generator()), **method.initial_b(Base())}
    assert sum(factor.numel() for factor in factors.values()) == 147_456


@pytest.mark.parametrize("rank", [25, 1000])
def test_a_rank_above_the_width_is_refused(rank):
    with pytest.raises(MethodError, match=rf"fedlora\.rank={rank} is out of range: this backbone takes 1 to 24"):
        toy.simulator("fedlora", settings={"fedlora": {"rank": rank}})


def products(name, target):
    """sum_k w_k B_k A_k of what clients of 21, 10 and 15 samples send, and the product that they then receive."""
    simulator = start(name)
    mean = torch.zeros(4, 24, 24)
    for share, update in zip((21 / 46, 10 / 46, 15 / 46), toy.learned(simulator, COHORT, 1), strict=True):
        a = update.shared.get(f"lora.A.{target}", simulator.state.server.tensors[f"lora.A.{target}"])
        mean += share * update.shared[f"lora.B.{target}"] @ a
    after = ran(name).state.server.tensors
    return mean, after[f"lora.B.{target}"] @ after[f"lora.A.{target}"]


def test_ffa_lora_averages_the_products_by_averaging_one_factor():
    mean, received = products("ffa-lora", "v")
    torch.testing.assert_close(received, mean, atol=1e-6, rtol=1e-4)


def test_fedlora_does_not_average_the_products():
    mean, received = products("fedlora", "v")
    assert (received - mean).abs().max() > 1e-4


def test_the_frozen_factor_of_ffa_lora_does_not_change():
    simulator, drawn = ran("ffa-lora", rounds=2), start("ffa-lora").state.server["lora.A.q"]
    assert torch.equal(simulator.state.server["lora.A.q"], drawn)


def test_factor_b_and_the_head_of_fedsa_lora_are_not_communicated():
    """What travels, in either direction, are 768 values of A to and from each of three clients."""
    simulator = start("fedsa-lora")
    update = toy.learned(simulator, COHORT, 1)[0]
    assert update.shared.keys() == {"lora.A.q", "lora.A.v"}
    assert simulator.state.server.keys() == {"lora.A.q", "lora.A.v"}
    assert update.local.keys() == {"lora.B.q", "lora.B.v", "head.weight", "head.bias"}
    outcome = ran("fedsa-lora").outcome
    assert outcome.upload_bytes == outcome.download_bytes == 3 * 4 * 768


def test_a_held_out_client_of_fedsa_lora_uses_the_mean_factor_b():
    simulator = ran("fedsa-lora")
    (subject,) = simulator.evaluator.tasks(simulator.state, simulator.context.federation.held_out)
    factors = [simulator.state.local[k]["lora.B.v"].numpy() for k in COHORT]
    np.testing.assert_allclose(subject.state.tensors["lora.B.v"], np.mean(factors, axis=0), atol=1e-7)
