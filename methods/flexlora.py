"""LoRA whose products are averaged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedprompt.methods.base import State, Uploads
from fedprompt.methods.fedlora import FedLoRA
from fedprompt.methods.lazy import torch
from fedprompt.methods.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register(
    "flexlora",
    paper="Bai et al., Federated fine-tuning of large language models under heterogeneous tasks, NeurIPS",
    year=2024,
    family="parameter-efficient tuning",
)
class FlexLoRA(FedLoRA):
    """The server averages the products B A and sends on their best approximation of rank r; the head is averaged."""

    rebuilt = "flexlora factors the mean product anew, so that no entry of A or B has a past"
    deviations = (
        "one rank for all clients, where the paper suits each client's rank to its means",
        "on a Vision Transformer with a linear head; the paper tunes language models on instructions",
    )

    def combine(self, server: State, uploads: Uploads) -> State:
        weights = uploads.samples / uploads.samples.sum()
        a, b = nearest(uploads.shared["lora.A"], uploads.shared["lora.B"], weights, self.rank)
        return {**super().combine(server, uploads), "lora.A": a, "lora.B": b}


def nearest(a: Tensor, b: Tensor, weights: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """A [..., rank, D] and B [..., D, rank] with B A nearest to sum_k w_k B_k A_k; a and b are [K, ...].

    The truncated SVD U S V^T of that sum gives B = U S and A = V^T. The sum is [B_1 .. B_K][w_1 A_1; ..; w_K A_K], so
    the SVD is of the small product of both sides' triangular factors, and no [D, D] matrix is formed.
    """
    left = torch.cat(b.unbind(), dim=-1)
    right = torch.cat([weight * own for weight, own in zip(weights.to(a), a, strict=True)], dim=-2)
    left, left_factor = torch.linalg.qr(left)
    right, right_factor = torch.linalg.qr(right.mT)
    u, s, vh = torch.linalg.svd(left_factor @ right_factor.mT)
    return vh[..., :rank, :] @ right.mT, left @ (u * s.unsqueeze(-2))[..., :rank]
