"""MOON: features near those of the received model and far from those of the client's previous one."""

from __future__ import annotations

from fedprompt.methods import Backbone, Batch, Phase, State, Streams, hyperparameter, register
from fedprompt.methods.components.prompts import classify
from fedprompt.methods.fedvpt import FedVPT
from fedprompt.methods.lazy import Tensor, functional, torch

TRAINED = ("prompt", "head.weight", "head.bias")


@register(
    "moon",
    paper="Li et al., Model-contrastive federated learning, CVPR",
    url="https://arxiv.org/abs/2103.16257",
    year=2021,
    family="global prompts",
)
class MOON(FedVPT):
    """FedVPT with a contrastive loss: the received prompts give the positive feature, the previous ones the negative.

    A client's previous prompts are those after its last training, at first the initial ones; it keeps them. This needs
    two more forward passes per step. Clients predict with the averaged model.
    """

    personalised = True
    adapted = TRAINED
    mu: float = hyperparameter(1.0, "weight of the contrastive loss", low=0)
    temperature: float = hyperparameter(0.5, "divides the cosines of the contrastive loss", low=1e-6)
    deviations = (
        "trains prompts and head of a frozen ViT, so that only prompts move features; the paper trains whole networks",
        "compares cls features; the official code (QinbinLi/MOON, main.py) compares 256 outputs of a two-layer "
        "projection, which the classifier reads, too",
    )

    def local(self, vit: Backbone, rng: Streams) -> State:
        return {"previous.prompt": self.shared(vit, rng)["prompt"]}

    def phases(self) -> tuple[Phase, ...]:
        return (Phase(TRAINED),)

    def loss(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        """Cross-entropy plus `mu` times -log(e^p / (e^p + e^n)), with the cosines p and n over the temperature."""
        z, received = self.feature(vit, batch, state), batch.received or state
        with torch.no_grad():
            positive, negative = (
                self.feature(vit, batch, {"prompt": received[name]}) for name in ("prompt", "previous.prompt")
            )
        nearer = functional.cosine_similarity(z, positive) - functional.cosine_similarity(z, negative)
        batch.log("nearer_to_received", nearer)
        contrast = functional.softplus(-nearer / self.temperature)
        return batch.cross_entropy(classify(batch, z, state)) + self.mu * contrast

    def after_batch(self, state: State) -> State:
        """The prompts so far. The round's losses read those of `batch.received`, from before its first step."""
        return {"previous.prompt": state["prompt"]}
