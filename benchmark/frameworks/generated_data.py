"""Data for a federation of any size: scikit-learn's digits, drawn with replacement, each with new noise."""

import os
import shutil
from pathlib import Path

import numpy as np
import torch
from torchvision.transforms.v2 import functional as transforms

from fedprompt.data import loading

CLASSES = 10
ARCHIVE = "all.npz"
NOISE = 48.0  # standard deviation in grey levels, on the 8x8 image
CHUNK = 2048


def digits(folder: Path, train: int, test: int, size: int) -> Path:
    """Creates a data set of `train` and `test` images of side `size`, unless it exists; returns its folder.

    The folder contains `train_x.npy`, `test_x.npy` (uint8 [N, size, size, 3]), `train_y.npy`, `test_y.npy` (int64 [N])
    and an `.npz` archive of all four. The same arguments give the same files.
    """
    path = folder / f"digits-{train}-{test}-{size}"
    if path.exists():
        return path
    unfinished = folder / f".{path.name}.{os.getpid()}"
    unfinished.mkdir(parents=True)
    try:
        source = loading.load("digits")
        rng = np.random.default_rng(0)
        _write(unfinished, "train", np.asarray(source.train_x), source.train_y, train, size, rng)
        _write(unfinished, "test", np.asarray(source.test_x), source.test_y, test, size, rng)
        arrays = {file.stem: np.load(file, mmap_mode="r") for file in unfinished.glob("*.npy")}
        np.savez(unfinished / ARCHIVE, **arrays)
        os.replace(unfinished, path)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return path


def _write(
    folder: Path, part: str, digits: np.ndarray, labels: np.ndarray, count: int, size: int, rng: np.random.Generator
) -> None:
    """Draws `count` digits with replacement, adds noise, enlarges them and writes the images and labels."""
    drawn = rng.integers(len(digits), size=count)
    np.save(folder / f"{part}_y.npy", labels[drawn].astype(np.int64))
    shape = (count, size, size, 3)
    images = np.lib.format.open_memmap(folder / f"{part}_x.npy", mode="w+", dtype=np.uint8, shape=shape)
    for start in range(0, count, CHUNK):
        chosen = digits[drawn[start : start + CHUNK]].astype(np.float32)
        noisy = chosen + rng.normal(0, NOISE, (*chosen.shape[:3], 1)).astype(np.float32)
        pixels = torch.from_numpy(noisy.clip(0, 255).astype(np.uint8)).permute(0, 3, 1, 2)
        bicubic = transforms.InterpolationMode.BICUBIC
        large = transforms.resize(pixels, [size, size], interpolation=bicubic, antialias=True)
        images[start : start + CHUNK] = large.permute(0, 2, 3, 1).numpy()
    images.flush()
