"""FedPR: deep prompts with updates orthogonal to the received prompts."""

from __future__ import annotations

from math import sqrt

from fedprompt.methods import Backbone, State, Streams, Uploads, hyperparameter, register
from fedprompt.methods.fedvpt_deep import FedVPTDeep
from fedprompt.methods.lazy import torch


@register(
    "fedpr",
    paper="Feng et al., Learning federated visual prompt in null space for MRI reconstruction, CVPR; to classify",
    url="https://arxiv.org/abs/2303.16181",
    year=2023,
    family="global prompts",
    variants={"frobenius": {"frobenius": True}},
)
class FedPR(FedVPTDeep):
    """VPT-deep; from round 2 on, updates of a layer's prompts are orthogonal to the prompts that were received.

    The head trains freely. A held-out client predicts with the averaged prompts and head.
    """

    frobenius: bool = hyperparameter(
        False, "divide prompt gradients by the projector's Frobenius norm, as in the official code"
    )
    adjusts_steps = True
    no_decay = ("prompts",)  # decay would change them within their span
    local_optimiser = "Adam 0.1, projected steps (chunmeifeng/FedPR, config/different_dataset.py, util/adam_svd.py)"
    deviations = (
        "classification by ViT with a trained, averaged head; the paper reconstructs images by Swin with a fixed head",
        "projects the gradient of SGD, whose momentum is zero at the start of every round, so that steps stay "
        "orthogonal to the prompts; with --optimizer adam its step, as the paper does; the official code keeps Adam's "
        "two moments of the unprojected gradient at the clients over all rounds (util/adam_svd.py, train.py); effect "
        "not measured",
        "projects exactly with I - QQ', where Q is a basis of the layer's prompts; the official ratio of 0.8 removes "
        "additional, arbitrary directions of the null space",
        "no division by the projector's Frobenius norm, which only scales the learning rate by 1 / sqrt(D - tokens); "
        "`frobenius` enables it",
        "not copied from the official code: a threshold on eigenvalues that is computed but never used",
    )

    def memory(self, vit: Backbone, rng: Streams) -> State:
        return {"projecting": torch.zeros(())}

    def adjust_gradients(self, gradients: State, received: State) -> State:
        """Removes the component of the prompt gradients in the span of the received prompts, for each layer."""
        if "prompts" not in gradients:
            return gradients
        prompts, gradient = received["prompts"], gradients["prompts"]
        basis = torch.linalg.qr(prompts.transpose(-1, -2)).Q  # [K, L, D, tokens]
        parallel = gradient @ basis @ basis.transpose(-1, -2)
        scale = 1 / sqrt(max(1, prompts.shape[-1] - prompts.shape[-2])) if self.frobenius else 1.0
        projecting = received["projecting"].view(-1, 1, 1, 1)
        return {**gradients, "prompts": torch.where(projecting > 0, scale * (gradient - parallel), gradient)}

    def combine(self, server: State, uploads: Uploads) -> State:
        return {**super().combine(server, uploads), "projecting": torch.ones_like(server["projecting"])}
