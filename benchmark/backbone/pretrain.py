"""Pre-trains the embedded backbone on Tiny-ImageNet with supervision: `bench pretrain --data PATH`.

Everything needed to go on after an interruption lies in the work folder: the decoded images, and one
checkpoint that is replaced at the end of every epoch. The result is a half-precision safetensors file
without the classification head, and a JSON file with what was measured.
"""

import hashlib
import io
import json
import tarfile
import time
from collections.abc import Iterator
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

BATCH, LEARNING_RATE, WEIGHT_DECAY, WARM_UP = 128, 1e-3, 0.05, 300
SMOOTHING, CLIP, SHIFT = 0.1, 1.0, 4
GREY, NEGATIVE, BLURRED = 0.3, 0.2, 0.15  # shares of the images seen so; the last for each of two sizes
COOL_DOWN = 2  # epochs
PLAIN_EPOCHS = 5  # before images vary so: from the first epoch on, a probe of 50 % took twice the epochs


def files(source: Path) -> Iterator[tuple[str, bytes]]:
    """Every file below `tiny-imagenet-200`, as (path inside it, content), from a folder or a tar archive."""
    if source.is_dir():
        for path in sorted(p for p in source.rglob("*") if p.is_file()):
            yield path.relative_to(source).as_posix(), path.read_bytes()
        return
    try:
        with tarfile.open(source, "r|*") as archive:  # read as a stream: nothing is unpacked to disk
            for member in archive:
                content = archive.extractfile(member) if member.isfile() else None
                if content is not None:
                    yield member.name.removeprefix("./").partition("/")[2], content.read()
    except tarfile.ReadError as error:
        raise ConfigError(f"{source} is no whole tar archive: unpack it, and name the folder.") from error


def tiny_imagenet(source: Path) -> dict[str, np.ndarray]:
    """Tiny-ImageNet boxed down to 32 px: train_x, val_x uint8 [N, 32, 32, 3]; train_y, val_y int64 [N].

    The classes are those with training images: copies exist whose validation split names two more, and
    images of these are left out. Raises `ConfigError` when that does not make 200 classes.
    """
    images: dict[str, tuple[str, np.ndarray]] = {}
    labels: dict[str, str] = {}
    for name, content in files(source):
        if name.endswith(".JPEG"):
            image = Image.open(io.BytesIO(content)).convert("RGB").resize((32, 32), Image.Resampling.BOX)
            images[name.rsplit("/", 1)[1]] = (name.split("/")[0], np.asarray(image))
        elif name == "val/val_annotations.txt":
            labels = dict(line.split("\t")[:2] for line in content.decode().splitlines())
    labels |= {key: key.split("_")[0] for key, (split, _) in images.items() if split == "train"}
    trained = {labels[key] for key, (split, _) in images.items() if split == "train"}
    classes = {name: index for index, name in enumerate(sorted(trained))}
    if len(classes) != 200:
        raise ConfigError(f"{source} holds {len(classes)} classes, Tiny-ImageNet has 200; give its folder or archive.")
    arrays = {}
    for split in ("train", "val"):
        names = sorted(key for key, (part, _) in images.items() if part == split and labels[key] in classes)
        arrays[f"{split}_x"] = np.stack([images[key][1] for key in names])
        arrays[f"{split}_y"] = np.array([classes[labels[key]] for key in names])
    return arrays


def normalised(images: np.ndarray) -> Tensor:
    """uint8 [B, H, W, 3] to float [B, 3, H, W] with the backbone's mean and deviation (0.5 each)."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def augmented(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each image shifted by up to 4 px (edges mirrored) and flipped half of the time."""
    padded = np.pad(images, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)), mode="reflect")
    tops, lefts = rng.integers(0, 2 * SHIFT + 1, (2, len(images)))
    out = np.empty_like(images)
    for i, (top, left) in enumerate(zip(tops, lefts, strict=True)):
        crop = padded[i, top : top + images.shape[1], left : left + images.shape[2]]
        out[i] = crop[:, ::-1] if rng.random() < 0.5 else crop
    return out


def varied(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Grey, negative, low-contrast and low-resolution views of normalised images [B, 3, S, S].

    Without them, scans of digits fall into a cone of the feature space (mean of norm 13.0, spread 2.1), in which
    no linear head can be trained by a few steps of SGD.
    """

    def share(part: float) -> Tensor:
        return torch.from_numpy(rng.random(len(images)) < part).view(-1, 1, 1, 1)

    images = torch.where(share(GREY), images.mean(1, keepdim=True), images)
    images = images * torch.from_numpy(rng.uniform(0.5, 1.5, (len(images), 1, 1, 1))).float()
    images = torch.where(share(NEGATIVE), -images, images)
    for side in (8, 16):
        small = functional.interpolate(images, side, mode="area")
        blurred = functional.interpolate(small, images.shape[-1], mode="bicubic")
        images = torch.where(share(BLURRED), blurred, images)
    return images.clamp(-1, 1)


def features(model: VisionTransformer, images: np.ndarray, head: bool = False) -> Tensor:
    """The normalised cls feature [N, D], or with `head` the logits, without gradient."""
    model.eval()
    with torch.no_grad():
        parts = [normalised(images[i : i + 500]) for i in range(0, len(images), 500)]
        return torch.cat([model(x) if head else model.forward_features(x)[:, 0] for x in parts])


def probe(model: VisionTransformer, npz: Path, train: int = 2000, test: int = 1000) -> float:
    """Test accuracy of a logistic regression on the frozen cls feature of a class-balanced subset."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    data = np.load(npz)

    def balanced(x: np.ndarray, y: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        each = count // len(np.unique(y))
        rows = np.concatenate([np.flatnonzero(y == c)[:each] for c in np.unique(y)])
        return features(model, x[rows]).numpy(), y[rows]

    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
    classifier.fit(*balanced(data["train_x"], data["train_y"], train))
    return float(classifier.score(*balanced(data["test_x"], data["test_y"], test)))


def learning_rate(step: int, epochs: int, steps: int) -> float:
    """The rate at a step, counted over all epochs of `steps` each: a short rise, a slow cosine, a linear cool-down.

    The cosine would end only after half as many epochs again, so that the rate is still high when cooling begins.
    """
    if step < WARM_UP:
        return LEARNING_RATE * (1 + 24 * (1 - cos(pi * step / WARM_UP)) / 2) / 25
    slow = (1 + cos(pi * (step - WARM_UP) / (1.5 * epochs * steps - WARM_UP))) / 2
    return LEARNING_RATE * slow * min(1, (epochs * steps - step) / (COOL_DOWN * steps))


def epoch_of_training(
    model: VisionTransformer,
    optimiser: torch.optim.Optimizer,
    data: dict[str, np.ndarray],
    epoch: int,
    epochs: int,
    rng: np.random.Generator,
) -> float:
    """One pass over the training images, varied after the first few epochs; returns the mean training loss."""
    model.train()
    total, steps = 0.0, len(data["train_y"]) // BATCH
    order = rng.permutation(len(data["train_y"]))
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(epoch * steps + step, epochs, steps)
        rows = np.sort(order[step * BATCH : (step + 1) * BATCH])
        images = normalised(augmented(data["train_x"][rows], rng))
        logits = model(varied(images, rng) if epoch >= PLAIN_EPOCHS else images)
        loss = functional.cross_entropy(logits, torch.from_numpy(data["train_y"][rows]), label_smoothing=SMOOTHING)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimiser.step()
        total += loss.item()
    return total / steps


def pretrain(source: Path, work: Path, epochs: int, seed: int = 0, npz: Path | None = None) -> dict[str, object]:
    """Trains for `epochs` (going on from the checkpoint in `work`), writes the weights and returns the measurements."""
    decoded = work / "tiny-imagenet-32.npz"
    if not decoded.exists():
        images = tiny_imagenet(source)
        work.mkdir(parents=True, exist_ok=True)
        np.savez(work / "decoding.npz", allow_pickle=False, **images)
        (work / "decoding.npz").rename(decoded)
    data = dict(np.load(decoded))
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
        began = time.perf_counter()
        rng = np.random.default_rng([seed, len(history)])  # an epoch's draws do not depend on interruptions
        loss = epoch_of_training(model, optimiser, data, len(history), epochs, rng)
        right = features(model, data["val_x"], head=True).argmax(1).numpy() == data["val_y"]
        row = {"epoch": len(history) + 1, "loss": loss, "validation": float(right.mean())}
        if npz is not None:
            row["probe"] = probe(model, npz)
        history.append(row | {"seconds": time.perf_counter() - began})
        print(json.dumps(history[-1]), flush=True)
        state = {"model": model.state_dict(), "optimiser": optimiser.state_dict()}
        torch.save(state | {"history": history}, checkpoint.with_suffix(".tmp"))
        checkpoint.with_suffix(".tmp").rename(checkpoint)
    return export(model, work, history)


def export(model: VisionTransformer, work: Path, history: list[dict[str, float]]) -> dict[str, object]:
    """Writes the headless weights in half precision beside `measured.json`; returns what that file says."""
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
