"""How images reach a backbone: split, resize and normalisation, as records and `bench data show` state them."""

from typing import Any

import timm

from fedprompt.benchmark.backbone import embedded
from fedprompt.benchmark.backbone.samples import NORMALIZATIONS, normalization
from fedprompt.benchmark.backbone.vit import FrozenViT
from fedprompt.benchmark.backbone.weights import EMBEDDED
from fedprompt.data.dataset import Array, DataSet
from fedprompt.data.images.decoding import ImageFiles


def image_rules(dataset: DataSet, vit: FrozenViT, normalize: str) -> dict[str, Any]:
    """Returns the rules of a data set under a backbone: `split`, `resize`, and `mean` and `std` of RGB in [0, 1]."""
    mean, std = normalization(normalize, vit)
    return _rules(dataset, vit.image_size, mean, std)


def planned_rules(dataset: DataSet, backbone: str, image_size: int | None, normalize: str) -> dict[str, Any]:
    """Returns `image_rules` by the name of a backbone, without its weights; values that are not known are None."""
    size, mean, std = _expected(backbone)
    if normalize != "backbone":
        mean, std = NORMALIZATIONS[normalize]
    return _rules(dataset, image_size or size, mean, std)


def described(rules: dict[str, Any]) -> str:
    """Returns rules as two lines of text."""
    mean, std = (
        "the backbone's" if rules[name] is None else ", ".join(f"{value:g}" for value in rules[name])
        for name in ("mean", "std")
    )
    return f"split: {rules['split']}\nimages: {rules['resize']}; RGB normalised with mean {mean} and std {std}"


def _rules(dataset: DataSet, size: int | None, mean: Any, std: Any) -> dict[str, Any]:
    colours = {"mean": None if mean is None else list(mean), "std": None if std is None else list(std)}
    return {"split": dataset.split_rule or "not stated", "resize": _resize(dataset.train_x, size), **colours}


def _resize(images: Array | ImageFiles, size: int | None) -> str:
    if not isinstance(images, ImageFiles) and images.shape[1:3] == (size, size):
        return f"{size}x{size} px, not resized"
    target = "the backbone's size" if size is None else f"{size}x{size} px"
    native = "each image's size" if isinstance(images, ImageFiles) else "{1}x{0} px".format(*images.shape[1:3])
    return f"from {native} to {target}, bicubic with antialiasing, both sides stretched"


def _expected(backbone: str) -> tuple[int | None, Any, Any]:
    """Returns image size, mean and standard deviation of a backbone, or None for what timm does not state."""
    if backbone == EMBEDDED:
        return embedded.IMAGE_SIZE, embedded.MEAN, embedded.STD
    config = timm.get_pretrained_cfg(backbone)
    return (config.input_size[-1], config.mean, config.std) if config else (None, None, None)
