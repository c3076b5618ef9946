"""Base of federated LoRA methods: low-rank updates of linear layers."""

from __future__ import annotations

from fedprompt.methods import Backbone, Batch, Method, MethodError, State, Streams, Uploads, hyperparameter
from fedprompt.methods.components.edits import require_editable
from fedprompt.methods.components.prompts import classify
from fedprompt.methods.lazy import Tensor, torch

TARGETS = ("q", "k", "v", "proj", "fc1", "fc2")
"""The linear layers of a block, each of which can have an update."""


class LoRA(Method):
    """Replaces the frozen W of the target layers of all blocks by W + alpha/r B A (Hu et al., 2022); linear head.

    Subclasses define which of A, B and the head are shared, local or fixed. The defaults are the same for the whole
    family, so that rows of a table differ by the aggregation only.
    """

    rank: int = hyperparameter(4, "rank r of the update B A", low=1)
    alpha: float | None = hyperparameter(None, "the update is scaled by alpha / r; None: alpha = 2 r", low=0)
    targets: str = hyperparameter("q,v", f"linear layers with an update, from {', '.join(TARGETS)}; comma-separated")

    @property
    def target_layers(self) -> tuple[str, ...]:
        """The target layers by name."""
        return tuple(name.strip() for name in self.targets.split(","))

    @property
    def scale(self) -> float:
        """The factor alpha / r of the update."""
        return 2.0 if self.alpha is None else self.alpha / self.rank

    def check(self, vit: Backbone) -> None:
        """Refuses blocks without editable layers, a rank above the width, unknown or repeated target layers."""
        require_editable(self.name, vit)
        if self.rank > vit.dim:
            raise MethodError(f"{self.name}.rank={self.rank} is out of range: this backbone takes 1 to {vit.dim}.")
        given, known = f"{self.name}.targets={self.targets}", ", ".join(TARGETS)
        for name in self.target_layers:
            if name not in TARGETS:
                raise MethodError(f"{given}: {name!r} is unknown; choose from {known}.")
            if self.target_layers.count(name) > 1:
                raise MethodError(f"{given} names {name!r} twice; name each of {known} once.")

    def initial_a(self, vit: Backbone, rng: Streams) -> State:
        """A [L, r, D_in] per target from uniform(-1/sqrt(D_in), 1/sqrt(D_in)), as in the authors' code.

        Each target has a generator of its own, so its A does not depend on the other targets.
        """
        factors = {}
        for name in self.target_layers:
            width, _ = widths(vit, name)
            draw = torch.empty(vit.depth, self.rank, width)
            factors[f"lora.A.{name}"] = draw.uniform_(-(width**-0.5), width**-0.5, generator=rng(f"lora.{name}"))
        return factors

    def initial_b(self, vit: Backbone) -> State:
        """B [L, D_out, r] of zeros per target."""
        outputs = {name: widths(vit, name)[1] for name in self.target_layers}
        return {f"lora.B.{name}": torch.zeros(vit.depth, width, self.rank) for name, width in outputs.items()}

    def update(self, batch: Batch, x: Tensor, state: State, target: str, layer: int) -> Tensor:
        """The unscaled update B A x of a target layer [B, T, D_out], for its input x [B, T, D_in]."""
        return low_rank(batch, x, state, target, layer)

    def logits(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        def edit(point: str, layer: int, x: Tensor, out: Tensor) -> Tensor:
            """Adds the product of the layer's small matrices."""
            if point not in self.target_layers:
                return out
            return out + self.scale * self.update(batch, x, state, point, layer)

        return classify(batch, vit.encode(vit.embed(batch), edit=edit), state)


def widths(vit: Backbone, target: str) -> tuple[int, int]:
    """Input and output width of a target layer."""
    return vit.hidden if target == "fc2" else vit.dim, vit.fc1_width if target == "fc1" else vit.dim


def low_rank(batch: Batch, x: Tensor, state: State, target: str, layer: int, prefix: str = "lora") -> Tensor:
    """B A x [B, T, D_out] with the factors `PREFIX.A.TARGET` and `PREFIX.B.TARGET` of one layer, from 1."""
    a, b = (state[f"{prefix}.{factor}.{target}"][:, layer - 1] for factor in "AB")
    return batch.matmul(batch.matmul(x, a.mT), b.mT)


def mean_product(uploads: Uploads, target: str) -> Tensor:
    """The mean of the clients' products B A of a target layer [L, D_out, D_in], weighted by sample counts."""
    a, b = (uploads.shared[f"lora.{factor}.{target}"] for factor in "AB")
    weights = (uploads.samples / uploads.samples.sum()).to(a)
    return torch.einsum("k,klor,klri->loi", weights, b, a)
