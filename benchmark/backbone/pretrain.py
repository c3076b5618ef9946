"""Pre-trains the embedded backbone on Tiny-ImageNet with labels: `bench pretrain --data PATH`.

The work folder contains all that is needed to resume: the decoded images, and a checkpoint that each epoch replaces.
The results are a half-precision safetensors file without the classification head and a JSON file of measurements.
"""

import hashlib
import io
import json
import tarfile
import time
from collections.abc import Iterator
from functools import partial
from math import cos, pi
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

from fedprompt.benchmark.backbone import embedded
from fedprompt.benchmark.backbone.weights import EMBEDDED_WEIGHTS
from fedprompt.benchmark.errors import ConfigError
from fedprompt.data.files.atomic import atomic_write

BATCH, LEARNING_RATE, WEIGHT_DECAY, WARM_UP = 128, 1e-3, 0.05, 300
SMOOTHING, CLIP, SHIFT = 0.1, 1.0, 4
GREY, NEGATIVE, LOW_RESOLUTION = 0.3, 0.2, 0.15  # shares of the images; the last for each of two resolutions
COOL_DOWN = 2  # epochs
PLAIN_EPOCHS = 5  # epochs without photometric augmentation: with it from the start, a 50 % probe took twice as long


def read_files(source: Path) -> Iterator[tuple[str, bytes]]:
    """Yields (path below `tiny-imagenet-200`, content) for each file of a folder or tar archive."""
    if source.is_dir():
        for path in sorted(p for p in source.rglob("*") if p.is_file()):
            yield path.relative_to(source).as_posix(), path.read_bytes()
        return
    try:
        with tarfile.open(source, "r|*") as archive:  # reads a stream; unpacks nothing to disk
            for member in archive:
                content = archive.extractfile(member) if member.isfile() else None
                if content is not None:
                    yield member.name.removeprefix("./").partition("/")[2], content.read()
    except tarfile.ReadError as error:
        raise ConfigError(f"{source} is not a complete tar archive; unpack it and pass the folder.") from error


def tiny_imagenet(source: Path) -> dict[str, np.ndarray]:
    """Reads Tiny-ImageNet and reduces the images to 32 px with a box filter.

    Some copies have validation images of two additional classes without training images; those are skipped.

    Args:
        source: The folder `tiny-imagenet-200`, or a tar archive of it.

    Returns:
        `train_x` and `val_x`, uint8 [N, 32, 32, 3]; `train_y` and `val_y`, int64 [N].

    Raises:
        ConfigError: The source does not contain 200 classes with training images.
    """
    images: dict[str, tuple[str, np.ndarray]] = {}
    labels: dict[str, str] = {}
    for name, content in read_files(source):
        if name.endswith(".JPEG"):
            image = Image.open(io.BytesIO(content), formats=("JPEG",)).convert("RGB")
            image = image.resize((32, 32), Image.Resampling.BOX)
            images[name.rsplit("/", 1)[1]] = (name.split("/")[0], np.asarray(image))
        elif name == "val/val_annotations.txt":
            labels = dict(line.split("\t")[:2] for line in content.decode().splitlines())
    labels |= {key: key.split("_")[0] for key, (split, _) in images.items() if split == "train"}
    trained = {labels[key] for key, (split, _) in images.items() if split == "train"}
    classes = {name: index for index, name in enumerate(sorted(trained))}
    if len(classes) != 200:
        raise ConfigError(f"{source} has {len(classes)} classes, Tiny-ImageNet has 200; pass its folder or archive.")
    arrays = {}
    for split in ("train", "val"):
        names = sorted(key for key, (part, _) in images.items() if part == split and labels[key] in classes)
        arrays[f"{split}_x"] = np.stack([images[key][1] for key in names])
        arrays[f"{split}_y"] = np.array([classes[labels[key]] for key in names])
    return arrays


def normalise(images: np.ndarray) -> Tensor:
    """Maps uint8 [B, H, W, 3] to float [B, 3, H, W] in [-1, 1]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def shift_and_flip(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shifts each image by up to 4 px (reflected edges) and mirrors it with probability 0.5."""
    padded = np.pad(images, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)), mode="reflect")
    tops, lefts = rng.integers(0, 2 * SHIFT + 1, (2, len(images)))
    out = np.empty_like(images)
    for i, (top, left) in enumerate(zip(tops, lefts, strict=True)):
        crop = padded[i, top : top + images.shape[1], left : left + images.shape[2]]
        out[i] = crop[:, ::-1] if rng.random() < 0.5 else crop
    return out


def vary_appearance(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Makes some normalised images [B, 3, S, S] grey, negative or low-resolution, and scales their contrast.

    Without this, features of scanned digits lie in a narrow cone (mean of norm 13.0, spread 2.1), where a few steps of
    SGD cannot train a linear head.
    """

    def selected(share: float) -> Tensor:
        return torch.from_numpy(rng.random(len(images)) < share).view(-1, 1, 1, 1)

    images = torch.where(selected(GREY), images.mean(1, keepdim=True), images)
    images = images * torch.from_numpy(rng.uniform(0.5, 1.5, (len(images), 1, 1, 1))).float()
    images = torch.where(selected(NEGATIVE), -images, images)
    for side in (8, 16):
        small = functional.interpolate(images, side, mode="area")
        blurred = functional.interpolate(small, images.shape[-1], mode="bicubic")
        images = torch.where(selected(LOW_RESOLUTION), blurred, images)
    return images.clamp(-1, 1)


def predict(model: VisionTransformer, images: np.ndarray, head: bool = False) -> Tensor:
    """Returns the cls feature [N, D], or with `head` the logits [N, C], without gradient."""
    model.eval()
    with torch.no_grad():
        parts = [normalise(images[i : i + 500]) for i in range(0, len(images), 500)]
        return torch.cat([model(x) if head else model.forward_features(x)[:, 0] for x in parts])


def probe(model: VisionTransformer, npz: Path, train: int = 2000, test: int = 1000) -> float:
    """Returns the test accuracy of a logistic regression on frozen cls features of a class-balanced subset."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    data = np.load(npz)

    def balanced(x: np.ndarray, y: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        each = count // len(np.unique(y))
        rows = np.concatenate([np.flatnonzero(y == c)[:each] for c in np.unique(y)])
        return predict(model, x[rows]).numpy(), y[rows]

    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
    classifier.fit(*balanced(data["train_x"], data["train_y"], train))
    return float(classifier.score(*balanced(data["test_x"], data["test_y"], test)))


def learning_rate(step: int, epochs: int, steps: int) -> float:
    """Returns the learning rate of a step, counted over all epochs of `steps` each.

    Warm-up, then cosine, then a linear cool-down. The cosine is 1.5 times as long as the training, so that the rate is
    still high when the cool-down starts.
    """
    if step < WARM_UP:
        return LEARNING_RATE * (1 + 24 * (1 - cos(pi * step / WARM_UP)) / 2) / 25
    cosine = (1 + cos(pi * (step - WARM_UP) / (1.5 * epochs * steps - WARM_UP))) / 2
    return LEARNING_RATE * cosine * min(1, (epochs * steps - step) / (COOL_DOWN * steps))


def train_epoch(
    model: VisionTransformer,
    optimiser: torch.optim.Optimizer,
    data: dict[str, np.ndarray],
    epoch: int,
    epochs: int,
    rng: np.random.Generator,
) -> float:
    """Trains for one epoch; returns the mean training loss."""
    model.train()
    total, steps = 0.0, len(data["train_y"]) // BATCH
    order = rng.permutation(len(data["train_y"]))
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(epoch * steps + step, epochs, steps)
        rows = np.sort(order[step * BATCH : (step + 1) * BATCH])
        images = normalise(shift_and_flip(data["train_x"][rows], rng))
        logits = model(vary_appearance(images, rng) if epoch >= PLAIN_EPOCHS else images)
        loss = functional.cross_entropy(logits, torch.from_numpy(data["train_y"][rows]), label_smoothing=SMOOTHING)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimiser.step()
        total += loss.item()
    return total / steps


def pretrain(source: Path, work: Path, epochs: int, seed: int = 0, npz: Path | None = None) -> dict[str, object]:
    """Trains from the checkpoint in `work`, if any, up to `epochs`; writes the weights.

    Args:
        source: Tiny-ImageNet, as a folder or archive.
        work: Folder for the decoded images, the checkpoint and the results.
        epochs: Number of epochs in total.
        seed: Seed of initial weights and batches.
        npz: Images and labels for a linear probe after each epoch.

    Returns:
        The content of `measured.json`.
    """
    data = _decoded(source, work)
    torch.manual_seed(seed)
    model = embedded.build(classes=200)
    optimiser = torch.optim.AdamW(model.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    history: list[dict[str, float]] = []
    checkpoint = work / f"checkpoint-{epochs}-{seed}.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        history = state["history"]
    while len(history) < epochs:
        started = time.perf_counter()
        rng = np.random.default_rng([seed, len(history)])  # independent of interruptions
        loss = train_epoch(model, optimiser, data, len(history), epochs, rng)
        correct = predict(model, data["val_x"], head=True).argmax(1).numpy() == data["val_y"]
        row = {"epoch": len(history) + 1, "loss": loss, "validation": float(correct.mean())}
        if npz is not None:
            row["probe"] = probe(model, npz)
        history.append(row | {"seconds": time.perf_counter() - started})
        print(json.dumps(history[-1]), flush=True)
        state = {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "history": history}
        atomic_write(checkpoint, partial(torch.save, state))
    return export(model, work, history)


def _decoded(source: Path, work: Path) -> dict[str, np.ndarray]:
    path = work / "tiny-imagenet-32.npz"
    if not path.exists():
        images = tiny_imagenet(source)
        work.mkdir(parents=True, exist_ok=True)
        np.savez(work / "decoding.npz", allow_pickle=False, **images)
        (work / "decoding.npz").rename(path)
    return dict(np.load(path))


def export(model: VisionTransformer, work: Path, history: list[dict[str, float]]) -> dict[str, object]:
    """Writes the headless weights in half precision and `measured.json`; returns the content of the latter."""
    weights = work / EMBEDDED_WEIGHTS.name
    tensors = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    save_file({k: v.contiguous() for k, v in tensors.items() if not k.startswith("head.")}, weights)
    measured = {
        "weights": weights.name,
        "bytes": weights.stat().st_size,
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "parameters": sum(p.numel() for k, p in model.named_parameters() if not k.startswith("head.")),
        "history": history,
    }
    (work / "measured.json").write_text(json.dumps(measured, indent=1))
    return measured
