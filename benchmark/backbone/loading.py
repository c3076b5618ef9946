"""Loads a frozen backbone: the embedded one, or any plain timm ViT from its own download or a checkpoint file."""

import difflib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from torch import Tensor

from fedprompt.benchmark.backbone import embedded
from fedprompt.benchmark.backbone.vit import FrozenViT, Precision, refuse_unless_plain
from fedprompt.benchmark.backbone.weights import EMBEDDED, EMBEDDED_WEIGHTS, RANDOM, identity
from fedprompt.benchmark.errors import ConfigError


@lru_cache(maxsize=2)
def load(
    name: str,
    classes: int,
    checkpoint: str | None = None,
    image_size: int | None = None,
    patch_size: int | None = None,
    device: str = "cpu",
    precision: Precision = "fp32",
) -> FrozenViT:
    """The backbone for `classes` classes, kept by the process. Raises `ConfigError` for what cannot be loaded."""
    if name == EMBEDDED:
        model = _embedded(checkpoint, image_size, patch_size)
    else:
        model = _from_timm(name, checkpoint, image_size, patch_size)
    weights = identity(name, checkpoint)
    sizes = f"{model.patch_embed.img_size[0]} px, patches of {model.patch_embed.patch_size[0]}"
    return FrozenViT(name, model.to(device), classes, precision, f"{name} {weights} at {sizes}, {precision}")


def _embedded(checkpoint: str | None, image_size: int | None, patch_size: int | None) -> VisionTransformer:
    if patch_size not in (None, embedded.STRIDE):
        raise ConfigError(f"--patch-size {patch_size}: the embedded backbone's stem has a stride of {embedded.STRIDE}.")
    size = image_size or embedded.IMAGE_SIZE
    if size % embedded.STRIDE:
        raise ConfigError(f"--image-size {size}: the embedded backbone needs a multiple of {embedded.STRIDE}.")
    with _same_random_weights():
        model = embedded.build(size)
    if checkpoint != RANDOM:
        _fill(model, _read(Path(checkpoint) if checkpoint else EMBEDDED_WEIGHTS), checkpoint or EMBEDDED)
    return model


def _from_timm(name: str, checkpoint: str | None, image_size: int | None, patch_size: int | None) -> VisionTransformer:
    architecture = name.split(".")[0]
    if not timm.is_model(architecture):
        close = difflib.get_close_matches(architecture, timm.list_models(), n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise ConfigError(f"unknown backbone {name!r}{hint}; `bench list backbones` shows what there is.")
    if name != architecture and name not in timm.list_pretrained(f"{architecture}.*"):
        known = ", ".join(timm.list_pretrained(f"{architecture}.*")) or "none"
        raise ConfigError(f"--backbone {name}: timm knows no such weights; for {architecture} there are {known}.")
    with torch.device("meta"):  # its shape, without its weights
        shape = timm.create_model(architecture, num_classes=0)
    refuse_unless_plain(name, shape)
    _refuse_cut_patches(name, shape, image_size, patch_size)
    sizes = {k: v for k, v in (("img_size", image_size), ("patch_size", patch_size)) if v is not None}
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its retries would bury the reason below
    try:
        with _same_random_weights():
            model = timm.create_model(name, num_classes=0, pretrained=checkpoint is None, **sizes)
    except (AssertionError, ValueError, ZeroDivisionError) as error:
        raise ConfigError(f"--backbone {name} cannot be built at {sizes or 'its own size'}: {error}") from error
    except (OSError, RuntimeError) as error:
        raise ConfigError(
            f"--backbone {name}: its weights cannot be downloaded ({type(error).__name__}). "
            "Fetch them on a machine with a network and name the file with --checkpoint FILE."
        ) from error
    if checkpoint not in (None, RANDOM):
        _fill(model, _read(Path(str(checkpoint))), str(checkpoint))
    return model


def _refuse_cut_patches(name: str, shape: VisionTransformer, image_size: int | None, patch_size: int | None) -> None:
    """Raises `ConfigError` where an image is no whole number of patches: timm would drop what is left over."""
    image, patch = image_size or shape.patch_embed.img_size[0], patch_size or shape.patch_embed.patch_size[0]
    if image % patch:
        raise ConfigError(
            f"--backbone {name}: --image-size {image} is not a multiple of the patch size {patch}; "
            f"use {max(1, round(image / patch)) * patch}, or another --patch-size."
        )


@contextmanager
def _same_random_weights() -> Iterator[None]:
    """Inside, torch draws from a fixed seed; its own state is as before afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of a torch file read as data only."""
    if not path.is_file():
        raise ConfigError(f"--checkpoint {path}: there is no such file.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # bytes that are no checkpoint make torch's reader raise anything
        raise ConfigError(
            f"--checkpoint {path} is neither a safetensors file nor a torch file of tensors alone "
            f"({type(error).__name__}); convert it with safetensors.torch.save_file."
        ) from error
    for wrapper in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not (isinstance(content, dict) and content and all(isinstance(v, Tensor) for v in content.values())):
        raise ConfigError(f"--checkpoint {path} holds no dictionary of tensors.")
    return content


def _fill(model: VisionTransformer, state: dict[str, Tensor], source: str) -> None:
    """Loads a state resampled to the model's image and patch size; a classification head in it is left out."""
    state = {k: v for k, v in state.items() if not k.startswith(("head.", "head_dist."))}
    wanted = model.state_dict()
    try:
        if isinstance(model.patch_embed, embedded.ConvStem):
            state = _resample_positions(model, state)
        else:
            state = checkpoint_filter_fn({k: v.float() for k, v in state.items()}, model)
    except Exception as error:  # timm's filter stumbles over an alien file; the comparison below says how it differs
        logging.getLogger("bench").debug("resampling %s: %r", source, error)
    missing, unexpected = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    misshapen = [
        f"{k} {tuple(state[k].shape)} instead of {tuple(wanted[k].shape)}"
        for k in sorted(wanted.keys() & state.keys())
        if state[k].shape != wanted[k].shape
    ]
    differences = [
        f"{label}: {', '.join(keys[:3])}{f' and {len(keys) - 3} more' if len(keys) > 3 else ''}"
        for label, keys in (("missing", missing), ("unexpected", unexpected), ("misshapen", misshapen))
        if keys
    ]
    if differences:
        raise ConfigError(f"--checkpoint {source} does not fit the backbone; {'; '.join(differences)}.")
    model.load_state_dict(state)


def _resample_positions(model: VisionTransformer, state: dict[str, Tensor]) -> dict[str, Tensor]:
    from timm.layers import resample_abs_pos_embed

    state = {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
    if state["pos_embed"].shape != model.pos_embed.shape:
        grid = list(model.patch_embed.grid_size)
        state["pos_embed"] = resample_abs_pos_embed(state["pos_embed"], new_size=grid, num_prefix_tokens=1)
    return state
