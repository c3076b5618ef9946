"""LoRA-FAIR: LoRA with averaged factors, of which B is corrected towards the mean product."""

from __future__ import annotations

from fedprompt.methods import State, Uploads, hyperparameter, register
from fedprompt.methods.components.lora import mean_product
from fedprompt.methods.fedlora import FedLoRA
from fedprompt.methods.lazy import Tensor, torch


@register(
    "lora-fair",
    paper="Bian et al., LoRA-FAIR: Federated LoRA fine-tuning with aggregation and initialization refinement, ICCV",
    url="https://arxiv.org/abs/2411.14961",
    year=2025,
    family="parameter-efficient tuning",
)
class LoRAFAIR(FedLoRA):
    """Averages A, B and the head, and adds to B the correction that brings B A closest to the mean product.

    Clients start from the averaged A and the corrected B. A large `penalty` gives fedlora.
    """

    version = 1
    variants = {}
    penalty: float = hyperparameter(0.01, "weight lambda of the squared norm of the correction of B", low=0)
    deviations = (
        "the correction minimises the squared distance to the mean product plus lambda times its squared norm, in "
        "closed form; the paper maximises the cosine similarity. At lambda 0 the closed form also has the largest "
        "cosine that any correction can have. Effect not measured",
        "implemented from descriptions of the objective; the code, jmbian/LoRA-FAIR, was not accessible, and a reader "
        "reports in issue 1 there that it also tunes prompt tokens",
        "rank 4 and alpha / r = 2 on q and v, as in the whole LoRA family; the paper uses rank 16",
        "tunes a linear head as well, which is averaged",
    )

    def combine(self, server: State, uploads: Uploads) -> State:
        combined = super().combine(server, uploads)
        for name in self.target_layers:
            a, b = combined[f"lora.A.{name}"], combined[f"lora.B.{name}"]
            combined[f"lora.B.{name}"] = b + correction(a, b, mean_product(uploads, name), self.penalty)
        return combined


def correction(a: Tensor, b: Tensor, product: Tensor, penalty: float) -> Tensor:
    """The C [..., D_out, r] that minimises |product - (B + C) A|^2 + penalty |C|^2.

    C = (product - B A) A^T (A A^T + penalty I)^-1, with the pseudo-inverse, because A may have dependent rows.
    """
    a, b, product = a.double(), b.double(), product.double()
    gram = a @ a.mT + penalty * torch.eye(a.shape[-2], dtype=a.dtype, device=a.device)
    return ((product - b @ a) @ a.mT @ torch.linalg.pinv(gram, hermitian=True)).float()
