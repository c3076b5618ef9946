"""A frozen Vision Transformer that methods can extend with prompts.

The last block runs only for the tokens that are read, and no weight has a gradient. Methods see fp32 everywhere; with
`precision="bf16"` only the blocks compute in bf16.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from typing import Any, Literal

import torch
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from fedprompt.benchmark.backbone import families
from fedprompt.benchmark.backbone.block import is_plain, run_block
from fedprompt.benchmark.backbone.eva_block import is_eva, run_eva_block
from fedprompt.benchmark.errors import ConfigError
from fedprompt.methods.base import LayerEdit, State

Precision = Literal["fp32", "bf16"]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class _Calls(threading.local):
    """Layers that the method calls of the current thread need, counted as rows x layers."""

    layers = 0


class _Counters:
    """Layers run and needed so far, by a backbone and all of its views."""

    def __init__(self) -> None:
        self.run, self.needed, self.lock = 0, 0.0, threading.Lock()


class FrozenViT:
    """A timm ViT with frozen weights. Implements `fedprompt.methods.base.Backbone`; layers are counted from 1.

    Args:
        name: Name of the model, for messages.
        model: A model that passes `families.require_supported`.
        classes: Number of classes of the data set.
        precision: Precision of the blocks.
        identity: Weights, sizes and precision as one string: the key of cached activations. None: no disk cache.

    Attributes:
        dim, depth: Width D, number of layers.
        hidden, fc1_width: Width of the MLP, and of fc1's output; 0 where blocks cannot be edited.
        registers: Register tokens, between cls and the patches.
        tokens: Tokens per image without prompts: cls, registers and patches.
        mean, std: Normalisation that the weights were trained with.
        layers_run: Layers computed so far, counted as images x layers; padding and the filling of caches included.
        layers_needed: Layers that methods needed so far, whether cached or not; samples without padding.
        standardization: Map of everything that methods read after the final norm, [..., D]. None: as it is.
        initial_head: The head that methods start from. None: a random one.
    """

    def __init__(
        self,
        name: str,
        model: VisionTransformer | Eva,
        classes: int,
        precision: Precision = "fp32",
        identity: str | None = None,
    ) -> None:
        self.name, self.classes, self.precision, self.identity = name, classes, precision, identity
        self.model = model.eval().requires_grad_(False)
        self.blocks = [block.to(DTYPES[precision]) for block in model.blocks]
        self.dim, self.depth = model.embed_dim, len(model.blocks)
        self.fc1_width, self.hidden = families.editable_widths(model)
        self.patch_size, self.image_size = model.patch_embed.patch_size[0], model.patch_embed.img_size[0]
        self.registers = model.num_prefix_tokens - 1
        self.tokens = model.patch_embed.num_patches + model.num_prefix_tokens
        self._rotations, self._final_norms = families.rotations(model), families.final_norms(model)
        config = getattr(model, "pretrained_cfg", None) or {}
        self.mean, self.std = config.get("mean", (0.5,) * 3), config.get("std", (0.5,) * 3)
        self.standardization: Callable[[Tensor], Tensor] | None = None
        self.initial_head: State | None = None
        self._counters, self._calls = _Counters(), _Calls()

    def view(self) -> "FrozenViT":
        """The same weights and counters, with a standardisation and an initial head of its own: those of one run."""
        return copy(self)

    @property
    def layers_run(self) -> int:
        """Layers computed so far, summed over images."""
        return self._counters.run

    @property
    def layers_needed(self) -> float:
        """Layers that methods needed so far, summed over images; those in a cache count."""
        return self._counters.needed

    @layers_needed.setter
    def layers_needed(self, layers: float) -> None:
        self._counters.needed = layers

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.model.parameters()).device

    def tokens_of(self, images: Tensor) -> Tensor:
        """Maps normalised images [B, 3, S, S] to the tokens [B, T, D] entering layer 1."""
        return families.embed(self.model, images)[0]

    def embed(self, batch: Any) -> Tensor:
        """Returns tokens [B, T, D] entering layer 1: cls, registers, patches; positions added."""
        return batch.samples.tokens(batch.rows)

    def frozen(self, batch: Any, layer: int) -> Tensor:
        """Returns tokens [B, T, D] entering `layer` without prompts; cached where they fit."""
        self._calls.layers += len(batch.rows) * (layer - 1)
        return batch.samples.tokens(batch.rows, layer)

    def features(self, batch: Any, layer: int | None = None) -> Tensor:
        """Returns the cls feature [B, D] without prompts, or the cls token entering `layer`; cached."""
        self._calls.layers += len(batch.rows) * (self.depth if layer is None else layer - 1)
        values = batch.samples.features(batch.rows, layer)  # cached as they are: runs that standardise them share them
        return self._standardized(values) if layer is None else values

    def pixels(self, batch: Any) -> Tensor:
        """Returns normalised images [B, 3, S, S]."""
        return batch.samples.pixels(batch.rows)

    def layers(self, x: Tensor, first: int = 1, last: int | None = None, edit: LayerEdit | None = None) -> Tensor:
        """Returns tokens [B, T, D] after layers `first`..`last` (inclusive); `x` itself where last < first."""
        last = self.depth if last is None else last
        self._calls.layers += len(x) * max(0, last - first + 1)
        return self.run_layers(x, first, last, edit)

    def encode(self, x: Tensor, first: int = 1, edit: LayerEdit | None = None) -> Tensor:
        """Returns the cls feature [B, D] after layers `first`..depth and the final norm."""
        return self.outputs(x, 1, first, edit)[:, 0]

    def outputs(self, x: Tensor, read: int, first: int = 1, edit: LayerEdit | None = None) -> Tensor:
        """Returns the first `read` tokens [B, read, D] after layers `first`..depth and the final norm."""
        self._calls.layers += len(x) * (self.depth - first + 1)
        return self._standardized(self.run_outputs(x, read, first, edit))

    def _standardized(self, values: Tensor) -> Tensor:
        return values if self.standardization is None else self.standardization(values)

    @contextmanager
    def counting(self, batch: Any) -> Iterator[None]:
        """Adds the layers that a method needs inside the `with` block for a batch to `layers_needed`.

        Padding rows count nothing, so that the number does not depend on which clients share a pass.
        """
        before = self._calls.layers
        yield
        needed = (self._calls.layers - before) * batch.samples_in / len(batch.rows)
        with self._counters.lock:
            self._counters.needed += needed

    def run_layers(self, x: Tensor, first: int, last: int, edit: LayerEdit | None = None) -> Tensor:
        """Like `layers`, without counting it as a method's need."""
        return self._run(x, first, last, edit).to(x.dtype)

    def run_outputs(self, x: Tensor, read: int, first: int = 1, edit: LayerEdit | None = None) -> Tensor:
        """Like `outputs`, without counting it as a method's need and without standardisation."""
        x = self._run(x, first, self.depth - 1, edit)
        self._count(len(x))
        x = self._block(x, self.depth, read, edit).float()
        norm, last = self._final_norms
        out = norm(x)
        return last(out if edit is None else edit("norm", self.depth + 1, x, out))

    def _run(self, x: Tensor, first: int, last: int, edit: LayerEdit | None) -> Tensor:
        """Like `run_layers`, but returns the precision of the blocks."""
        self._count(len(x) * max(0, last - first + 1))
        x = x.to(DTYPES[self.precision])
        for layer in range(first, last + 1):
            x = self._block(x, layer, None, edit)
        return x

    def _block(self, x: Tensor, layer: int, read: int | None, edit: LayerEdit | None) -> Tensor:
        block = self.blocks[layer - 1]
        at = None if edit is None else lambda point, *io: edit(point, layer, *io)
        if is_plain(block):
            return run_block(block, x, read, at)
        if is_eva(block):
            return run_eva_block(block, x, self._rotations[layer - 1], read, at)
        if edit is not None:
            raise ConfigError(f"--backbone {self.name}: methods that edit layers need timm's standard blocks.")
        return block(x)[:, :read]

    def _count(self, layers: int) -> None:
        with self._counters.lock:  # the threaded executor trains clients in parallel
            self._counters.run += layers
