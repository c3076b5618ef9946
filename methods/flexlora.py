"""FlexLoRA: LoRA with averaged products."""

from __future__ import annotations

from fedprompt.methods import State, Uploads, register
from fedprompt.methods.fedlora import FedLoRA
from fedprompt.methods.lazy import Tensor, torch


@register(
    "flexlora",
    paper="Bai et al., Federated fine-tuning of large language models under heterogeneous tasks, NeurIPS",
    url="https://arxiv.org/abs/2402.11505",
    year=2024,
    family="parameter-efficient tuning",
    variants={"paper": {"rank": 8, "alpha": 16.0, "targets": "q,k,v,proj,fc1,fc2"}},
)
class FlexLoRA(FedLoRA):
    """Averages the products B A and the head; clients receive the best rank-r approximation of the mean product.

    The variant `paper` has the rank, alpha and target layers of the official code.
    """

    version = 2
    rebuilt = "flexlora factorises the mean product every round, so entries of A and B have no continuity"
    deviations = (
        "one rank for all clients; the paper adapts the rank to each client's resources",
        "tunes a Vision Transformer with a linear head; the paper tunes language models on instructions",
        "rank 4 on q and v, as in the whole LoRA family; alibaba/FederatedScope (branch FlexLoRA) main.py has rank 8 "
        "on all linear layers (flexlora:paper), with the same alpha / r = 2",
        "products are weighted by sample counts n_k / n, as in the official fed_utils/model_aggregation.py; the "
        "head, which the paper does not have, is weighted in the same way",
        "no dropout before A; the official code has 0.05",
    )

    def combine(self, server: State, uploads: Uploads) -> State:
        """Averages the head, and replaces A and B of each target by factors of the mean product."""
        weights = uploads.samples / uploads.samples.sum()
        combined = super().combine(server, uploads)
        for name in self.target_layers:
            key_a, key_b = f"lora.A.{name}", f"lora.B.{name}"
            combined[key_a], combined[key_b] = best_approximation(
                uploads.shared[key_a], uploads.shared[key_b], weights, self.rank
            )
        return combined


def best_approximation(a: Tensor, b: Tensor, weights: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The rank-r factors A [..., r, D] and B [..., D, r] closest to sum_k w_k B_k A_k, from `a` and `b` [K, ...].

    The truncated SVD U S V^T of the sum gives B = U S and A = V^T. Because the sum equals
    [B_1 .. B_K][w_1 A_1; ..; w_K A_K], an SVD of the product of the two triangular QR factors suffices.
    """
    left = torch.cat(b.unbind(), dim=-1)
    right = torch.cat([weight * factor for weight, factor in zip(weights.to(a), a, strict=True)], dim=-2)
    left, left_factor = torch.linalg.qr(left)
    right, right_factor = torch.linalg.qr(right.mT)
    u, s, vh = torch.linalg.svd(left_factor @ right_factor.mT)
    return vh[..., :rank, :] @ right.mT, left @ (u * s.unsqueeze(-2))[..., :rank]
