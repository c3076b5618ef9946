"""Each check passes correct methods and detects a mistake."""

from dataclasses import dataclass

import pytest
import torch

from fedprompt.benchmark.contract import check, toy
from fedprompt.benchmark.contract.case import Case
from fedprompt.benchmark.contract.check import CHECKS, FIRST
from fedprompt.methods import registry
from fedprompt.methods.base import Method, Phase, hyperparameter
from fedprompt.methods.components.prompts import classify, insert_after_cls
from fedprompt.methods.fedper import FedPer
from fedprompt.methods.fedvpt import FedVPT
from fedprompt.methods.fedvpt_deep import FedVPTDeep
from fedprompt.methods.registry import Recipe


@dataclass(frozen=True)
class Mistake:
    """A broken method, the checks that must detect it, and a part of their message."""

    cls: type[Method]
    checks: set[str]
    message: str


MISTAKES: list[Mistake] = []


def detected_by(*checks, message):
    """Adds a broken method to `MISTAKES`."""

    def add(cls):
        cls.name, cls.paper, cls.year, cls.family = cls.__name__, "none", 2026, "broken"
        MISTAKES.append(Mistake(cls, set(checks), message))
        return cls

    return add


@detected_by("predicts", message="NotImplementedError: NoLogits does not implement logits")
class NoLogits(Method):
    """Declares a tensor and nothing else."""

    def shared(self, vit, rng):
        return {"prompt": torch.zeros(1, vit.dim)}


@detected_by("tensors_used", message="does not use prompt")
class UnusedPrompt(FedVPT):
    """Never inserts the prompt."""

    def logits(self, vit, batch, state):
        return classify(batch, vit.features(batch), state)


@detected_by("tensors_used", message="no phase trains head.bias, head.weight")
class UntrainedHead(FedVPT):
    """No phase trains the shared head."""

    def phases(self):
        return (Phase(("prompt",)),)


@detected_by("tensors_used", message="a phase trains promt")
class Misspelt(FedVPT):
    """A phase names a tensor that does not exist."""

    def phases(self):
        return (Phase(("prompt", "promt", "head.weight", "head.bias")),)

    def loss(self, vit, batch, state):
        return super().loss(vit, batch, state)


@detected_by("runs", message="combine() does not return head.bias, head.weight")
class LostTensors(FedVPT):
    """The server drops tensors."""

    def combine(self, server, uploads):
        return {"prompt": uploads.mean("prompt")}


@detected_by("described", message="a docstring, the meaning of width")
class Undescribed(FedVPT):
    width: int = hyperparameter(1, "")


@detected_by("frozen_backbone", "repeatable", message="the run changed norm.bias")
class TunesTheNorm(FedVPT):
    """Changes the backbone."""

    def statistics(self, vit, batch, state):
        vit.model.norm.bias.fill_(0.5)
        return {}


@detected_by("gradients", message="no gradient reaches prompts (rows [2])")
class SkipsALayer(FedVPTDeep):
    """Detaches the prompts of the third layer."""

    def logits(self, vit, batch, state):
        prompts = state["prompts"].clone()
        prompts[:, 2] = prompts[:, 2].detach()
        return super().logits(vit, batch, {**state, "prompts": prompts})


@detected_by("fused", message="of several clients in one batch differ from those of each client alone")
class FirstClientsPrompt(FedVPT):
    """Gives every sample the first client's prompt and head."""

    def logits(self, vit, batch, state):
        prompt = state["prompt"] + state["head.bias"].mean(1).view(-1, 1, 1)
        first = prompt[:1].expand(len(batch.labels), -1, -1)
        weight = state["head.weight"][:1].expand_as(state["head.weight"])
        x = insert_after_cls(vit.embed(batch), first)
        return classify(batch, vit.encode(x), {**state, "head.weight": weight})


@detected_by("fused", message="depend on the other clients in the batch")
class MeanOverTheCohort(FedVPT):
    """Scales each client's loss by the mean over all clients in the batch."""

    def loss(self, vit, batch, state):
        loss = super().loss(vit, batch, state)
        return loss * loss.detach().mean()


@detected_by("download_is_current", "learns", message="still receives the initial head.bias, head.weight")
class ForgetsTheRound(FedVPT):
    """Sends the initial tensors in every round."""

    def memory(self, vit, rng):
        return {f"first.{name}": value for name, value in self.shared(vit, rng).items()}

    def download(self, server, client):
        return {**server, **{name: server[f"first.{name}"] for name in server if f"first.{name}" in server}}


@detected_by("local_stays", "uploads_have_a_kind", message="statistic or report secret is a copy of a local tensor")
class SendsItsHead(FedPer):
    """Uploads the personal head as a statistic."""

    def statistics(self, vit, batch, state):
        return {"secret": state["head.weight"]}


@detected_by("uploads_have_a_kind", message="norms is uploaded; say what it is in upload_kinds")
class UndeclaredReport(FedPer):
    """Uploads a sum whose name says nothing."""

    def reports(self, vit, batch, state):
        return {"norms": vit.features(batch).square().sum(1).mul(batch.mask).view(len(batch.counts), -1).sum(1)}


@detected_by("weighted_mean", message="head.bias is not the mean")
class OverwritesTheMean(FedVPT):
    """Adds a statistic to an averaged tensor."""

    def statistics(self, vit, batch, state):
        return {"count": batch.class_sums(torch.ones(len(batch.labels), 1)).sum((1, 2))}

    def apply_statistics(self, server, statistics):
        return {"head.bias": server["head.bias"] + 0.01 * statistics["count"]}


@detected_by("ignores_labels", message="other labels give other logits")
class Cheats(FedVPT):
    """Adds the correct answer to the logits."""

    def logits(self, vit, batch, state):
        return super().logits(vit, batch, state) + 0.1 * torch.eye(vit.classes)[batch.labels]


@detected_by("repeatable", "weighted_mean", message="draw random numbers only from the generators passed in")
class GlobalNoise(FedVPT):
    """Draws from torch's global generator."""

    def shared(self, vit, rng):
        return {**super().shared(vit, rng), "prompt": torch.randn(self.tokens, vit.dim)}


@detected_by("inputs_unchanged", message="head.bias was changed in place")
class AddsInPlace(FedVPT):
    """The server changes its tensor instead of returning a new one."""

    def combine(self, server, uploads):
        averaged = super().combine(server, uploads)
        return {**averaged, "head.bias": server["head.bias"].mul_(0).add_(averaged["head.bias"])}


@detected_by("held_out", message="nan")
class NanForHeldOut(FedVPT):
    """Predicts nan for the held-out client."""

    def logits(self, vit, batch, state):
        held_out = batch.own(batch.counts == torch.tensor(toy.TRAIN[3])).all(1, keepdim=True)
        return super().logits(vit, batch, state).masked_fill(held_out & (batch.phase is None), torch.nan)


@detected_by("learns", message="correct after 3 rounds")
class Unlearns(FedVPT):
    """Increases the loss instead of reducing it."""

    def loss(self, vit, batch, state):
        return -0.1 * super().loss(vit, batch, state)


def broken(findings):
    """Returns the messages of the broken checks, by check."""
    return {finding.check: finding.why for finding in findings if finding.state == "broken"}


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.cls.__name__)
def test_a_mistake_is_detected_by_its_checks_and_by_no_other(mistake):
    messages = broken(check.check(Recipe(mistake.cls.name, mistake.cls())))
    assert messages.keys() == mistake.checks
    assert any(mistake.message in message for message in messages.values()), messages


def test_every_check_has_a_mistake_that_it_detects():
    assert {check.__name__ for check in (*FIRST, *CHECKS)} == {name for mistake in MISTAKES for name in mistake.checks}


@pytest.mark.parametrize("name", ["head", "fedvpt-deep", "fedper", "local", "fedncm", "pep-fedpt", "fedvpt+fedprox"])
def test_correct_methods_pass(name):
    assert broken(check.check(registry.create(name))) == {}


def test_a_check_that_does_not_apply_says_why():
    findings = {finding.check: finding for finding in check.check(registry.create("fedncm"))}
    assert findings["gradients"].state == "n/a"
    assert findings["gradients"].why == "nothing is trained"
    assert findings["learns"].state == "ok"


def test_the_docstring_of_every_check_is_a_sentence():
    for function in (*FIRST, *CHECKS):
        (line,) = (function.__doc__ or "").splitlines()
        assert line[0].isupper()
        assert line.endswith(".")


def test_an_error_names_the_line_of_the_methods_file():
    message = broken(check.check(Recipe("LostTensors", LostTensors())))["runs"]
    assert "line " in message
    message = broken(check.check(Recipe("NoLogits", NoLogits())))["predicts"]
    assert "\n" not in message


def test_the_toy_backbone_does_not_depend_on_the_global_generator():
    first, second = (Case(registry.create("head")).backbone for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
