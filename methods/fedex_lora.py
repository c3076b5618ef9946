"""FedEx-LoRA: LoRA with averaged factors, and what they lack of the mean product added to the frozen weights."""

from __future__ import annotations

from fedprompt.methods import Backbone, Batch, State, Streams, Uploads, register
from fedprompt.methods.components.lora import mean_product, widths
from fedprompt.methods.fedlora import FedLoRA
from fedprompt.methods.lazy import Tensor, torch


@register(
    "fedex-lora",
    paper="Singhal et al., FedEx-LoRA: Exact aggregation for federated and efficient fine-tuning of large language "
    "models, ACL",
    url="https://arxiv.org/abs/2410.09432",
    year=2025,
    family="parameter-efficient tuning",
)
class FedExLoRA(FedLoRA):
    """Averages A, B and the head, and adds mean(B A) - mean(B) mean(A) to the frozen weights of the target layers.

    The sum of these residuals over the rounds is a dense matrix per target layer, which every client downloads. The
    clients continue from the averaged A and B, as in the official code.
    """

    version = 1
    variants = {}
    rebuilt = "fedex-lora keeps what the averages of A and B lack, which would not fit after another server step"
    deviations = (
        "tunes a Vision Transformer with a linear head; the paper tunes language models",
        "clients are weighted by sample counts; RaghavSinghal10/fedex-lora fed_agg.py weights them equally",
        "clients download the dense sum of all residuals, because they miss rounds; in the official code every client "
        "takes part in every round and would need the last residual only",
        "rank 4 and alpha / r = 2 on q and v, as in the whole LoRA family; the official fed_train_glue.py has the same "
        "rank and ratio, and fed_train_e2e.py has alpha / r = 8",
        "no dropout before A; the official code has 0.1",
    )

    def memory(self, vit: Backbone, rng: Streams) -> State:
        """The sum of the residuals [L, D_out, D_in] per target."""
        shapes = {name: widths(vit, name) for name in self.target_layers}
        return {f"residual.{name}": torch.zeros(vit.depth, out, width) for name, (width, out) in shapes.items()}

    def update(self, batch: Batch, x: Tensor, state: State, target: str, layer: int) -> Tensor:
        residual = state[f"residual.{target}"][:, layer - 1]
        return super().update(batch, x, state, target, layer) + batch.matmul(x, residual.mT)

    def combine(self, server: State, uploads: Uploads) -> State:
        combined = super().combine(server, uploads)
        for name in self.target_layers:
            residual = mean_product(uploads, name) - combined[f"lora.B.{name}"] @ combined[f"lora.A.{name}"]
            combined[f"residual.{name}"] = server[f"residual.{name}"] + residual
        return combined
