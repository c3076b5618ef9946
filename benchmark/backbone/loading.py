"""Loads a frozen backbone: the embedded one, or a ViT of timm with downloaded weights or a checkpoint file."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from functools import lru_cache
from io import StringIO
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from timm.layers import resample_abs_pos_embed
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from fedprompt.benchmark.backbone import embedded, families
from fedprompt.benchmark.backbone.key_layouts import original_names
from fedprompt.benchmark.backbone.vit import FrozenViT, Precision
from fedprompt.benchmark.backbone.weights import EMBEDDED, EMBEDDED_WEIGHTS, RANDOM, identity
from fedprompt.benchmark.errors import ConfigError, did_you_mean

logger = logging.getLogger("bench")


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
    """Returns the frozen backbone; the process keeps the last two.

    Args:
        name: `bench_vit_patch8_32` (embedded) or a timm name, with an optional pretrained tag.
        classes: Number of classes of the data set.
        checkpoint: Weights file, or `random`. None: the embedded weights or timm's download.
        image_size: Side of the images in pixels. None: the model's own. Positions are resampled.
        patch_size: Side of a patch in pixels. None: the model's own. Patch weights are resampled.
        device: `cpu`, `cuda` or `cuda:N`.
        precision: Precision of the transformer blocks.

    Raises:
        ConfigError: The backbone is unknown or unsuitable, or its weights cannot be read or downloaded.
    """
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
    with _fixed_seed():
        model = embedded.build(size)
    if checkpoint != RANDOM:
        _load_weights(model, _read(Path(checkpoint) if checkpoint else EMBEDDED_WEIGHTS), checkpoint or EMBEDDED)
    return model


def _from_timm(
    name: str, checkpoint: str | None, image_size: int | None, patch_size: int | None
) -> VisionTransformer | Eva:
    _check_timm_model(name, image_size, patch_size)
    sizes = {k: v for k, v in (("img_size", image_size), ("patch_size", patch_size)) if v is not None}
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its retry messages would hide the error below
    try:
        with _fixed_seed():
            model = timm.create_model(name, num_classes=0, pretrained=checkpoint is None, **sizes)
    except (AssertionError, ValueError, ZeroDivisionError) as error:
        raise ConfigError(f"--backbone {name} cannot be built at {sizes or 'its own size'}: {error}") from error
    except (OSError, RuntimeError) as error:
        raise ConfigError(
            f"--backbone {name}: its weights cannot be downloaded ({type(error).__name__}). "
            "Download them on a machine with network access and pass the file with --checkpoint FILE."
        ) from error
    if checkpoint not in (None, RANDOM):
        _load_weights(model, _read(Path(str(checkpoint))), str(checkpoint))
    return model


def _check_timm_model(name: str, image_size: int | None, patch_size: int | None) -> None:
    """Raises `ConfigError` for an unknown name, an unsuitable architecture, or images that are not whole patches."""
    architecture = name.split(".")[0]
    if not timm.is_model(architecture):
        hint = did_you_mean(architecture, timm.list_models())
        raise ConfigError(f"unknown backbone {name!r}{hint}; `bench list backbones` lists all.")
    tags = timm.list_pretrained(f"{architecture}.*")
    if name != architecture and name not in tags:
        raise ConfigError(f"--backbone {name}: timm has no such weights; available: {', '.join(tags) or 'none'}.")
    model = families.architecture(architecture)
    families.require_supported(name, model)
    if families.averages_patches(model):
        logger.warning("%s was trained to average its patches; methods read its cls token instead.", name)
    image, patch = image_size or model.patch_embed.img_size[0], patch_size or model.patch_embed.patch_size[0]
    if image % patch:  # timm would drop the remaining pixels
        raise ConfigError(
            f"--backbone {name}: --image-size {image} is not a multiple of the patch size {patch}; "
            f"use {max(1, round(image / patch)) * patch}, or another --patch-size."
        )


@contextmanager
def _fixed_seed() -> Iterator[None]:
    """Seeds torch with 0 inside the block and restores its state afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def _read(path: Path) -> dict[str, Tensor]:
    """Returns the tensors of a safetensors or torch file. Pickled code is not executed."""
    if not path.is_file():
        raise ConfigError(f"--checkpoint {path}: no such file.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # for an invalid file, torch raises errors of many types
        raise ConfigError(
            f"--checkpoint {path} is neither a safetensors file nor a torch file that contains only tensors "
            f"({type(error).__name__}); convert it with safetensors.torch.save_file."
        ) from error
    for wrapper in ("model", "state_dict", "teacher"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not (isinstance(content, dict) and content and all(_is_named_tensor(*item) for item in content.items())):
        raise ConfigError(f"--checkpoint {path} contains no dictionary of tensors by name.")
    return content


def _is_named_tensor(name: object, value: object) -> bool:
    """Whether this is an entry of a state dictionary, with numbers that are stored one by one."""
    return (
        isinstance(name, str)
        and isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_complex()
    )


def _load_weights(model: VisionTransformer | Eva, state: dict[str, Tensor], source: str) -> None:
    """Loads a state, resampled to the model's image and patch size. A classification head is ignored."""
    state = original_names(state)
    expected = model.state_dict()
    try:
        if isinstance(model.patch_embed, embedded.ConvStem):
            state = _resample_positions(model, state)
        else:
            _refuse_lost_biases(model, state, source)
            with redirect_stdout(StringIO()):  # timm prints a line for each bias that DINOv3 has and the model has not
                state = families.FILTERS[type(model)]({k: v.float() for k, v in state.items()}, model)
    except ConfigError:
        raise
    except Exception as error:  # timm's filter fails on unrelated files; the comparison below reports the differences
        logger.debug("resampling %s: %r", source, error)
    misshapen = [
        f"{k} {tuple(state[k].shape)} instead of {tuple(expected[k].shape)}"
        for k in sorted(expected.keys() & state.keys())
        if state[k].shape != expected[k].shape
    ]
    missing, unexpected = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    differences = [
        f"{label}: {', '.join(keys[:3])}{f' and {len(keys) - 3} more' if len(keys) > 3 else ''}"
        for label, keys in (("missing", missing), ("unexpected", unexpected), ("misshapen", misshapen))
        if keys
    ]
    if differences:
        raise ConfigError(f"--checkpoint {source} does not fit the backbone; {'; '.join(differences)}.")
    model.load_state_dict(state)


def _refuse_lost_biases(model: VisionTransformer | Eva, state: dict[str, Tensor], source: str) -> None:
    """Raises `ConfigError` for DINOv3 files with biases of queries and values that the model has not.

    timm's filter would drop them silently. Some files have only zeros there.
    """
    if "storage_tokens" not in state or getattr(model.blocks[0].attn, "q_bias", None) is not None:
        return
    for name, value in state.items():
        if name.endswith("attn.qkv.bias"):
            q, _, v = value.chunk(3)  # original files mask the bias of the keys
            if bool(q.any() or v.any()):
                raise ConfigError(
                    f"--checkpoint {source} has biases of queries and values, and the backbone has not; "
                    "use the one of the same name that ends with _qkvb."
                )


def _resample_positions(model: VisionTransformer, state: dict[str, Tensor]) -> dict[str, Tensor]:
    state = {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
    if state["pos_embed"].shape != model.pos_embed.shape:
        grid = list(model.patch_embed.grid_size)
        state["pos_embed"] = resample_abs_pos_embed(state["pos_embed"], new_size=grid, num_prefix_tokens=1)
    return state
