"""A personal model beside the averaged one, with the same tensors: shared by ditto, apfl and pfedme."""

from __future__ import annotations

from fedprompt.methods import Backbone, Batch, Method, State, Streams
from fedprompt.methods.lazy import Tensor, torch

GLOBAL = ("prompt", "head.weight", "head.bias")
PERSONAL = tuple(f"personal.{name}" for name in GLOBAL)


class PersonalModel(Method):
    """Mixin: adds a personal model to a method with the shared tensors `GLOBAL`, as in `Ditto(PersonalModel, FedVPT)`.

    The personal model starts as a copy of the averaged one and never travels. Clients predict with it; one that
    never trained predicts with the averaged model.
    """

    personalised = True
    adapted = PERSONAL

    def local(self, vit: Backbone, rng: Streams) -> State:
        return personal_copy(self.shared(vit, rng))

    def held_out_local(self, received: State, mean: State) -> State:
        return {**mean, **personal_copy(received)}

    def logits(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        return self.personal_logits(vit, batch, state)

    def global_logits(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        """Logits [B, C] of the averaged model."""
        return super().logits(vit, batch, state)

    def personal_logits(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        """Logits [B, C] of the client's personal model."""
        renamed = {name: state[personal] for name, personal in zip(GLOBAL, PERSONAL, strict=True)}
        return super().logits(vit, batch, renamed)


def personal_copy(state: State) -> State:
    """The tensors of the averaged model, under the names of the personal one."""
    return {personal: state[name] for name, personal in zip(GLOBAL, PERSONAL, strict=True)}


def squared_distance(state: State) -> Tensor:
    """Squared distance |v - w|^2 between each client's personal and averaged model, [K]."""
    gaps = [state[personal] - state[name] for name, personal in zip(GLOBAL, PERSONAL, strict=True)]
    return torch.stack([gap.square().flatten(1).sum(1) for gap in gaps]).sum(0)
