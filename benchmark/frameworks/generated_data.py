"""Data for a federation of any size: scikit-learn's digits, drawn again and again under noise of their own."""

import os
import shutil
from pathlib import Path

import numpy as np
import torch
from torchvision.transforms.v2 import functional as transforms

from fedprompt.data import loading

CLASSES = 10
ARCHIVE = "all.npz"
NOISE = 48.0  # standard deviation in grey levels, on the 8x8 scan
CHUNK = 2048


def digits(folder: Path, train: int, test: int, size: int) -> Path:
    """A folder with `train_x.npy`, `train_y.npy`, `test_x.npy`, `test_y.npy`, and all four in one `.npz`.

    Images are uint8 [N, size, size, 3]. The same numbers give the same files, and files that are there are kept.
    """
    place = folder / f"digits-{train}-{test}-{size}"
    if place.exists():
        return place
    unfinished = folder / f".{place.name}.{os.getpid()}"
    unfinished.mkdir(parents=True)
    try:
        source = loading.load("digits")
        rng = np.random.default_rng(0)
        _write(unfinished, "train", np.asarray(source.train_x), source.train_y, train, size, rng)
        _write(unfinished, "test", np.asarray(source.test_x), source.test_y, test, size, rng)
        arrays = {file.stem: np.load(file, mmap_mode="r") for file in unfinished.glob("*.npy")}
        np.savez(unfinished / ARCHIVE, **arrays)
        os.replace(unfinished, place)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return place


def _write(
    folder: Path, part: str, scans: np.ndarray, labels: np.ndarray, count: int, size: int, rng: np.random.Generator
) -> None:
    """Draws `count` scans with replacement, adds noise, enlarges them and writes both arrays of a part."""
    drawn = rng.integers(len(scans), size=count)
    np.save(folder / f"{part}_y.npy", labels[drawn].astype(np.int64))
    shape = (count, size, size, 3)
    images = np.lib.format.open_memmap(folder / f"{part}_x.npy", mode="w+", dtype=np.uint8, shape=shape)
    for start in range(0, count, CHUNK):
        chosen = scans[drawn[start : start + CHUNK]].astype(np.float32)
        noisy = chosen + rng.normal(0, NOISE, (*chosen.shape[:3], 1)).astype(np.float32)
        pixels = torch.from_numpy(noisy.clip(0, 255).astype(np.uint8)).permute(0, 3, 1, 2)
        bicubic = transforms.InterpolationMode.BICUBIC
        large = transforms.resize(pixels, [size, size], interpolation=bicubic, antialias=True)
        images[start : start + CHUNK] = large.permute(0, 2, 3, 1).numpy()
    images.flush()
