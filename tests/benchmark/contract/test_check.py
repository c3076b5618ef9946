"""Every check lets sound methods through, and catches the mistake that it is there for."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from fedprompt.benchmark.contract import check, toy
from fedprompt.benchmark.contract.case import Case
from fedprompt.benchmark.contract.check import CHECKS, FIRST, Finding
from fedprompt.methods import registry
from fedprompt.methods.base import Backbone, Batch, Method, Phase, State, Streams, Uploads, hyperparameter
from fedprompt.methods.components.prompts import classify, insert_after_cls
from fedprompt.methods.fedper import FedPer
from fedprompt.methods.fedvpt import FedVPT
from fedprompt.methods.fedvpt_deep import FedVPTDeep
from fedprompt.methods.registry import Recipe


@dataclass(frozen=True)
class Mistake:
    """A broken method, the checks that must find it out, and a word of what they must say."""

    cls: type[Method]
    checks: set[str]
    word: str


MISTAKES: list[Mistake] = []


def caught_by(*checks: str, says: str):  # type: ignore[no-untyped-def]
    """Puts a broken method on the list."""

    def add(cls: type[Method]) -> type[Method]:
        cls.name, cls.paper, cls.year, cls.family = cls.__name__, "none", 2026, "broken"
        MISTAKES.append(Mistake(cls, set(checks), says))
        return cls

    return add


@caught_by("predicts", says="NotImplementedError: NoLogits does not implement logits")
class NoLogits(Method):
    """Nothing but a tensor."""

    def shared(self, vit: Backbone, rng: Streams) -> State:
        return {"prompt": torch.zeros(1, vit.dim)}


@caught_by("depends", says="does not use prompt")
class UnusedPrompt(FedVPT):
    """The prompt is never put in."""

    def logits(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        return classify(batch, vit.features(batch), state)


@caught_by("depends", says="no phase trains head.bias, head.weight")
class UntrainedHead(FedVPT):
    """No phase trains the head that is averaged."""

    def phases(self) -> tuple[Phase, ...]:
        return (Phase(("prompt",)),)


@caught_by("depends", says="a phase trains promt")
class Misspelt(FedVPT):
    """A phase names a tensor that there is not."""

    def phases(self) -> tuple[Phase, ...]:
        return (Phase(("prompt", "promt", "head.weight", "head.bias")),)

    def loss(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        return super().loss(vit, batch, state)


@caught_by("runs", says="KeyError")
class LostTensors(FedVPT):
    """The server forgets what it held."""

    def combine(self, server: State, uploads: Uploads) -> State:
        return {"prompt": uploads.mean("prompt")}


@caught_by("described", says="a docstring, the meaning of width")
class Undescribed(FedVPT):
    width: int = hyperparameter(1, "")


@caught_by("frozen_backbone", "repeatable", says="the run changed norm.bias")
class TunesTheNorm(FedVPT):
    """Writes into the backbone."""

    def statistics(self, vit: Backbone, batch: Batch, state: State) -> State:
        vit.model.norm.bias.fill_(0.5)  # type: ignore[attr-defined]
        return {}


@caught_by("gradients", says="no gradient in prompts (rows [2])")
class SkipsALayer(FedVPTDeep):
    """The third layer's prompts are cut out of the graph, as by a misspelt variable."""

    def logits(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        prompts = state["prompts"].clone()
        prompts[:, 2] = prompts[:, 2].detach()
        return super().logits(vit, batch, {**state, "prompts": prompts})


@caught_by("fused", says="of many clients are not those of each")
class FirstClientsPrompt(FedVPT):
    """Gives all samples the first client's prompt."""

    def logits(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        prompt = state["prompt"] + state["head.bias"].mean(1).view(-1, 1, 1)
        first = prompt[:1].expand(len(batch.labels), -1, -1)
        own = state["head.weight"][:1].expand_as(state["head.weight"])
        x = insert_after_cls(vit.embed(batch), first)
        return classify(batch, vit.encode(x), {**state, "head.weight": own})


@caught_by("fused", says="depend on whom it trains beside")
class MeanOverTheCohort(FedVPT):
    """Draws each client's loss towards the mean of all that happen to train beside it."""

    def loss(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        own = super().loss(vit, batch, state)
        return own * own.detach().mean()


@caught_by("starts_from_now", "learns", says="is still the initial one after 3 rounds")
class ForgetsTheRound(FedVPT):
    """What clients receive is what the server began with."""

    def memory(self, vit: Backbone, rng: Streams) -> State:
        return {f"first.{name}": value for name, value in self.shared(vit, rng).items()}

    def download(self, server: State, client: int) -> State:
        return {**server, **{name: server[f"first.{name}"] for name in server if f"first.{name}" in server}}


@caught_by("local_stays", says="statistic or report secret is a local tensor under another name")
class SendsItsHead(FedPer):
    """Uploads the personal head as if it were a statistic."""

    def statistics(self, vit: Backbone, batch: Batch, state: State) -> State:
        return {"secret": state["head.weight"]}


@caught_by("weighted_mean", says="head.bias is not the mean")
class OverwritesTheMean(FedVPT):
    """Folds a statistic into a tensor that has been averaged."""

    def statistics(self, vit: Backbone, batch: Batch, state: State) -> State:
        return {"count": batch.class_sums(torch.ones(len(batch.labels), 1)).sum((1, 2))}

    def apply_statistics(self, server: State, statistics: State) -> State:
        return {"head.bias": server["head.bias"] + 0.01 * statistics["count"]}


@caught_by("blind_to_labels", says="other labels give other logits")
class Cheats(FedVPT):
    """Adds a little of the right answer."""

    def logits(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        return super().logits(vit, batch, state) + 0.1 * torch.eye(vit.classes)[batch.labels]


@caught_by("repeatable", "weighted_mean", says="draw from the generators given")
class GlobalNoise(FedVPT):
    """Draws from torch's global generator."""

    def shared(self, vit: Backbone, rng: Streams) -> State:
        return {**super().shared(vit, rng), "prompt": torch.randn(self.tokens, vit.dim)}


@caught_by("received_untouched", says="head.bias was changed in place")
class AddsInPlace(FedVPT):
    """The server steps on its own tensor instead of returning a new one."""

    def combine(self, server: State, uploads: Uploads) -> State:
        averaged = super().combine(server, uploads)
        return {**averaged, "head.bias": server["head.bias"].mul_(0).add_(averaged["head.bias"])}


@caught_by("held_out", says="nan")
class NothingForStrangers(FedVPT):
    """Has no answer where a client's classes are those of the held-out one."""

    def logits(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        stranger = batch.own(batch.counts == torch.tensor(toy.TRAIN[3])).all(1, keepdim=True)
        return super().logits(vit, batch, state).masked_fill(stranger, torch.nan)


@caught_by("learns", says="right after 3 rounds")
class Unlearns(FedVPT):
    """Climbs where it should descend."""

    def loss(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        return -0.1 * super().loss(vit, batch, state)


def broken(findings: list[Finding]) -> dict[str, str]:
    """What is broken, by check, and what is said of it."""
    return {finding.check: finding.why for finding in findings if finding.state == "broken"}


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.cls.__name__)
def test_a_mistake_is_caught_by_its_checks_and_by_no_other(mistake: Mistake) -> None:
    found = broken(check.check(Recipe(mistake.cls.name, mistake.cls())))
    assert found.keys() == mistake.checks
    assert any(mistake.word in why for why in found.values()), found


def test_every_check_has_a_mistake_that_it_catches() -> None:
    assert {one.__name__ for one in (*FIRST, *CHECKS)} == {name for mistake in MISTAKES for name in mistake.checks}


@pytest.mark.parametrize("name", ["head", "fedvpt-deep", "fedper", "local", "fedncm", "pep-fedpt", "fedvpt+fedprox"])
def test_sound_methods_pass(name: str) -> None:
    assert broken(check.check(registry.create(name))) == {}


def test_what_does_not_apply_is_said_and_not_passed() -> None:
    found = {finding.check: finding for finding in check.check(registry.create("fedncm"))}
    assert found["gradients"].state == "n/a"
    assert found["gradients"].why == "nothing is trained"
    assert found["learns"].state == "ok"


def test_every_check_says_in_a_sentence_what_should_hold() -> None:
    for one in (*FIRST, *CHECKS):
        (line,) = (one.__doc__ or "").splitlines()
        assert line[0].isupper()
        assert line.endswith(".")


def test_an_error_names_the_line_of_the_methods_own_file() -> None:
    why = broken(check.check(Recipe("LostTensors", LostTensors())))["runs"]
    assert "line " in why
    why = broken(check.check(Recipe("NoLogits", NoLogits())))["predicts"]
    assert "\n" not in why


def test_the_toy_does_not_depend_on_the_global_generator() -> None:
    """Two frozen transformers built in a row have the same weights."""
    one, other = (Case(registry.create("head")).backbone for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)
