"""Loss plug-ins act in all training of a method and in no prediction."""

import numpy as np
import pytest
import torch

from fedprompt.methods import LossPlugin, Method, MethodError, register, register_optimiser, registry
from fedprompt.methods.registry import create, expand
from tests import toy
from tests.methods.contract import close, new, ran, same

PLUGINS = pytest.mark.parametrize("plugin", ["la", "fedlc", "fedrs"])


@PLUGINS
@pytest.mark.parametrize("name", ["fedvpt", "pep-fedpt", "local", "pfedme", "fedpac", "apfl"])
def test_a_loss_plugin_changes_the_training_of_every_kind_of_method(name, plugin):
    changed, plain = ran(f"{name}+{plugin}").simulator.state, ran(name).simulator.state
    tensors = [
        {**s.server.tensors, **{f"{k}.{n}": v for k, own in s.local.items() for n, v in own.items()}}
        for s in (changed, plain)
    ]
    assert tensors[0].keys() == tensors[1].keys()
    assert not same(*tensors)
    assert all(value.isfinite().all() for value in tensors[0].values())


@PLUGINS
def test_fused_training_gives_the_same_tensors(plugin):
    ends = [new(f"pep-fedpt+{plugin}+fedprox", executor=kind) for kind in ("fused", "sequential")]
    for run in ends:
        run.run()
    close(*(run.state.server.tensors for run in ends), 2e-5)


def test_optimisers_and_a_loss_act_together_in_any_order():
    one, other = ran("fedvpt+la+scaffold").simulator, ran("fedvpt+scaffold+la").simulator
    assert same(one.state.server.tensors, other.state.server.tensors)
    assert not same(one.state.server.tensors, ran("fedvpt+scaffold").simulator.state.server.tensors)
    assert not same(one.state.server.tensors, ran("fedvpt+la").simulator.state.server.tensors)


def test_without_a_step_predictions_are_those_of_the_method():
    settings = {"of": toy.unequal(), "rounds": 0}
    assert (
        toy.ran("fedvpt+la", **settings).outcome.metrics["seen"]
        == toy.ran("fedvpt", **settings).outcome.metrics["seen"]
    )


def test_training_before_the_personalised_score_has_the_same_loss():
    """One client of one class: with `la` the loss is zero, so nothing but weight decay moves."""
    federation = toy.deal([toy.rows_of(0), toy.rows_of(1, 2)], [toy.rows_of(0, part="test")] * 2)
    drifts = []
    for name in ("head", "head+la"):
        evaluator = toy.simulator(name, of=federation).evaluator
        state = toy.simulator(name, of=federation).state
        phase = evaluator.personal_phase(state)
        before = evaluator.tasks(state, np.array([0]))
        (after,), _ = evaluator.tuned(before, phase)
        drifts.append(float((after.state["head.bias"] - before[0].state["head.bias"]).abs().max()))
    assert drifts[0] > 0.01
    assert drifts[1] < 1e-3


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("fed3r+la", ["fed3r+la: fed3r trains nothing, so there is no loss to change; drop +la."]),
        ("majority+fedrs", ["majority trains nothing"]),
        ("fedrod+la", ["fedrod adds the log class shares to its logits itself (fedrod:gamma=0 does not); drop +la."]),
        ("fedrod:generic+fedlc", ["fedrod adds the log class shares"]),
        ("fedvpt+la+fedlc", ["la and fedlc both change the logits of the training loss; use one."]),
        ("local+la+fedprox", ["local trains no shared tensors"]),
    ],
)
def test_a_loss_plugin_that_cannot_act_or_acts_twice_is_refused(name, parts):
    with pytest.raises(MethodError) as caught:
        create(name)
    assert all(part in str(caught.value) for part in parts), caught.value


def test_fedrod_without_its_balanced_softmax_takes_a_loss():
    assert create("fedrod+la", {"fedrod": {"gamma": 0.0}}).loss_plugins
    assert create("fedrod:gamma=0+la").loss_plugins


def test_a_wildcard_selects_the_methods_that_train_with_a_loss():
    left_out = set(registry.METHODS) - {name.partition("+")[0] for name in expand(["all+la"])}
    assert {"majority", "posterior", "fedncm", "fed3r", "fedcof", "fedrod"} <= left_out
    assert not {"local", "pfedme", "pfpt", "fedpac"} & left_out


@pytest.mark.usefixtures("registry_tables")
def test_a_method_whose_loss_is_no_cross_entropy_is_refused_when_it_trains():
    @register("squares", paper="none", year=2026, family="test")
    class Squares(Method):
        def shared(self, vit, rng):
            return {"w": torch.ones(1)}

        def logits(self, vit, batch, state):
            return batch.own(state["w"]) * vit.features(batch)[:, : toy.CLASSES]

        def loss(self, vit, batch, state):
            return self.logits(vit, batch, state).square().sum(1)

    with pytest.raises(MethodError, match=r"loss of squares does not use batch.cross_entropy.*; drop \+la"):
        toy.ran("squares+la")
    toy.ran("squares+fedprox")


@pytest.mark.usefixtures("registry_tables")
def test_a_loss_plugin_of_a_user_is_registered_as_a_loss():
    @register_optimiser("cooler", paper="none", year=2026)
    class Cooler(LossPlugin):
        def adjust_logits(self, batch, logits):
            return logits / 2

    assert Cooler.family == "loss"
    assert create("local+cooler").loss_plugins == (Cooler(),)
