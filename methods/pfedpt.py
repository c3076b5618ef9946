"""pFedPT: personal prompts in pixel space, with an averaged model."""

from __future__ import annotations

from fedprompt.methods import Backbone, Batch, Method, MethodError, Phase, State, Streams, hyperparameter, register
from fedprompt.methods.components.prompts import classify, insert_after_cls, linear_head, vpt_uniform
from fedprompt.methods.lazy import Tensor, torch


@register(
    "pfedpt",
    paper="Li et al., Visual prompt based personalized federated learning, TMLR (arXiv 2303.08678)",
    url="https://arxiv.org/abs/2303.08678",
    year=2024,
    family="personal prompts",
    variants={"head": {"tokens": 0}},
)
class PFedPT(Method):
    """A personal border is added to the images' pixels; prompt tokens and head are averaged.

    Clients train the border with everything else fixed, then everything else with that border. A held-out client uses
    the mean of the clients' borders.
    """

    personalised = True
    seen_with = "its personal border, the averaged prompt and head"
    held_out_with = "the mean of the clients' borders, the averaged prompt and head"
    width: int | None = hyperparameter(None, "width of the border in pixels; None: 1/16 of the image's side", low=1)
    tokens: int = hyperparameter(10, "averaged prompt tokens at the first layer", low=0)
    border_epochs: int | None = hyperparameter(None, "local epochs of the border; None: the run's", low=1)
    border_lr: float = hyperparameter(1.0, "learning rate of the border", low=0)
    no_decay = ("border",)
    local_optimiser = "SGD, with momentum for the border only (hkgdifyu/pFedPT, system/flcore/clients/clientpt.py)"
    deviations = (
        "the averaged model consists of prompt tokens and head on a frozen ViT; the paper trains a whole network",
        "borders start at zero; the official code draws them from a standard normal distribution",
        "the border uses the run's momentum, 0.9 by default; the official code (hkgdifyu/pFedPT system/main.py and "
        "system/flcore/clients/clientpt.py) uses 0.5, with learning rate 20 by default and 1 in its README, as here",
        "border and model train for the run's epochs, 1 by default; the official code trains each for 5 epochs per "
        "round, over 150 rounds, and the model by SGD at 0.05 without momentum",
        "as in the official code, a border trains only in rounds that sample its client; the official code scores a "
        "sampled client with its own trained model before this is averaged, here all predict with the averaged model",
        "a held-out client uses the mean border; the paper has no held-out clients",
        "not copied from the official code: one border channel for all three colours on Tiny-ImageNet, and reporting "
        "the best test accuracy of all rounds",
    )

    def border_width(self, vit: Backbone) -> int:
        """Width of the border in pixels."""
        return self.width or max(1, vit.image_size // 16)

    def check(self, vit: Backbone) -> None:
        if 2 * self.border_width(vit) > vit.image_size:
            raise MethodError(
                f"pfedpt.width={self.width}: images are {vit.image_size} pixels wide; use at most half of that."
            )

    def border(self, vit: Backbone) -> Tensor:
        """Ascending indices of the border's pixels in a flattened image."""
        inside = torch.zeros(vit.image_size, vit.image_size, dtype=torch.bool)
        width = self.border_width(vit)
        inside[width : vit.image_size - width, width : vit.image_size - width] = True
        return (~inside).flatten().nonzero().squeeze(1)

    def local(self, vit: Backbone, rng: Streams) -> State:
        return {"border": torch.zeros(3, len(self.border(vit)))}

    def shared(self, vit: Backbone, rng: Streams) -> State:
        prompt = {"prompt": vpt_uniform(vit, (self.tokens,), rng)} if self.tokens else {}
        return {**prompt, **linear_head(vit, rng)}

    def phases(self) -> tuple[Phase, ...]:
        model = (*(("prompt",) if self.tokens else ()), "head.weight", "head.bias")
        return Phase(("border",), epochs=self.border_epochs, lr=self.border_lr), Phase(model)

    def logits(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        x = vit.tokens_of(vit.pixels(batch) + batch.own(self.padding(vit, state["border"])))
        if self.tokens:
            x = insert_after_cls(x, batch.own(state["prompt"]))
        return classify(batch, vit.encode(x), state)

    def padding(self, vit: Backbone, border: Tensor) -> Tensor:
        """Borders [K, 3, n] as images [K, 3, S, S] with zeros inside."""
        blank = border.new_zeros(*border.shape[:2], vit.image_size**2)
        placed = blank.index_copy(2, self.border(vit).to(border.device), border)
        return placed.unflatten(2, (vit.image_size, vit.image_size))
