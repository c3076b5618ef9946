"""Deep prompts whose updates leave the span of what the clients share already."""

from __future__ import annotations

from math import sqrt

from fedprompt.methods.base import Backbone, State, Streams, Uploads, hyperparameter
from fedprompt.methods.fedvpt_deep import FedVPTDeep
from fedprompt.methods.lazy import torch
from fedprompt.methods.registry import register


@register(
    "fedpr",
    paper="Feng et al., Learning federated visual prompt in null space for MRI reconstruction, CVPR; to classify",
    year=2023,
    family="global prompts",
    variants={"frobenius": {"frobenius": True}},
)
class FedPR(FedVPTDeep):
    """VPT-deep; from round 2 on a client moves a layer's prompts only at right angles to those that it received.

    The head trains freely. A held-out client predicts with the averaged prompts and head.
    """

    frobenius: bool = hyperparameter(
        False, "divide prompt gradients by the projector's Frobenius norm, as the official code"
    )
    no_decay = ("prompts",)  # decay would move them within their span
    deviations = (
        "ported from reconstruction with a frozen head on Swin to classification on ViT: a head trains and is averaged",
        "the gradient of the run's SGD is projected; the paper projects the step of Adam, whose state clients keep",
        "the projector is exactly I - QQ', Q a basis of the layer's prompts; the official ratio of 0.8 removes as much "
        "while it leaves out more than `tokens` directions, and beside it others of the null space that are arbitrary",
        "without the division by the projector's Frobenius norm, which only shrinks the learning rate by "
        "sqrt(D - tokens): `frobenius` turns it on",
        "not repeated from the official code: its threshold on eigenvalues is computed and then never used",
    )

    def memory(self, vit: Backbone, rng: Streams) -> State:
        return {"projecting": torch.zeros(())}

    def adjust_gradients(self, gradients: State, received: State) -> State:
        """The gradients less their part in the span of the prompts that were received, layer by layer."""
        if "prompts" not in gradients:
            return gradients
        prompts, free = received["prompts"], gradients["prompts"]
        basis = torch.linalg.qr(prompts.transpose(-1, -2)).Q  # [K, L, D, tokens]
        bound = free @ basis @ basis.transpose(-1, -2)
        scale = 1 / sqrt(max(1, prompts.shape[-1] - prompts.shape[-2])) if self.frobenius else 1.0
        projecting = received["projecting"].view(-1, 1, 1, 1)
        return {**gradients, "prompts": torch.where(projecting > 0, scale * (free - bound), free)}

    def combine(self, server: State, uploads: Uploads) -> State:
        return {**super().combine(server, uploads), "projecting": torch.ones_like(server["projecting"])}
