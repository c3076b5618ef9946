"""FedNTD: local training keeps the received model's probabilities among the classes other than a sample's own."""

from __future__ import annotations

from fedprompt.methods import Backbone, Batch, State, hyperparameter, register
from fedprompt.methods.fedvpt import FedVPT
from fedprompt.methods.lazy import Tensor, functional, torch


@register(
    "fedntd",
    paper="Lee et al., Preservation of the global knowledge by not-true distillation in federated learning, NeurIPS",
    url="https://arxiv.org/abs/2106.03097",
    year=2022,
    family="global prompts",
)
class FedNTD(FedVPT):
    """FedVPT whose loss adds the divergence of the received model, among all classes but a sample's own.

    This needs one more forward pass per step. Clients predict with the averaged model.
    """

    beta: float = hyperparameter(1.0, "weight of the divergence", low=0)
    temperature: float = hyperparameter(1.0, "divides the logits of both models", low=1e-6)
    deviations = (
        "trains prompts and head of a frozen ViT; the paper trains whole networks",
        "the learning rate is constant; the official code (Lee-Gihun/FedNTD, config/fedntd.json) multiplies it by 0.99 "
        "every round",
    )

    def loss(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        logits = self.logits(vit, batch, state)
        with torch.no_grad():
            received = self.logits(vit, batch, batch.received or state)
        divergence = not_true_divergence(logits / self.temperature, received / self.temperature, batch.labels)
        batch.log("not_true_divergence", divergence)
        return batch.cross_entropy(logits) + self.beta * divergence


def not_true_divergence(logits: Tensor, received: Tensor, labels: Tensor) -> Tensor:
    """KL divergence [B] of the softmax of `logits` from that of `received`, both [B, C], without each row's label."""
    others = torch.arange(logits.shape[1] - 1, device=labels.device).expand(len(labels), -1)
    others = others + (others >= labels.unsqueeze(1))
    own, target = (values.gather(1, others).log_softmax(1) for values in (logits, received))
    return functional.kl_div(own, target, reduction="none", log_target=True).sum(1)
