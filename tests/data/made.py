"""Small data sets in the published layouts: one-coloured images, whose colour says which they are."""

import multiprocessing
import pickle
from collections.abc import Callable, Iterable, Mapping
from hashlib import md5
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

SHARED = Path(__file__).parents[2] / "../shared/data"


def shared(name: str) -> Path:
    """A file of the real data beside the repository, or the test is skipped."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"no {name} beside the repository")
    return path


def image(path: Path, colour: Any = (200, 30, 60), size: tuple[int, int] = (8, 8), mode: str = "RGB") -> Path:
    """Writes an image of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)
    return path


def listed(root: Path, lists: Mapping[str, Iterable[str]], images: Path | None = None) -> Path:
    """Lists NAME.txt of lines `PATH LABEL` in `root`, with an image at every path."""
    root.mkdir(parents=True, exist_ok=True)
    for name, lines in lists.items():
        (root / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))
        for line in lines:
            image((images or root) / line.rpartition(" ")[0])
    return root


def tiny(root: Path, classes: int = 3, train: int = 2, test: int = 1) -> Path:
    """Tiny-ImageNet's folders below `root`, with one more class that only the validation split has."""
    folder = root / "tiny-imagenet-200"
    wnids = [f"n{i:08}" for i in range(classes + 1)]
    annotations = []
    for c, wnid in enumerate(wnids):
        for k in range(train if c < classes else 0):
            image(folder / f"train/{wnid}/images/{wnid}_{k}.JPEG", (40 * c, 10, 10), (64, 64))
        for _ in range(test):
            name = f"val_{len(annotations)}.JPEG"
            image(folder / "val" / "images" / name, 30 + c, (64, 64), "L")
            annotations.append(f"{name}\t{wnid}\t0\t0\t63\t63\n")
    (folder / "val" / "val_annotations.txt").write_text("".join(annotations))
    (folder / "wnids.txt").write_text("\n".join(wnids))
    return folder


def cifar(root: Path, name: str, patch: pytest.MonkeyPatch) -> None:
    """CIFAR's pickles below `root`, of ten images a file; torchvision is told their md5 instead of the published."""
    from torchvision import datasets

    reader = getattr(datasets, name.upper())
    folder = root / reader.base_folder
    folder.mkdir(parents=True)
    labels, count = ("fine_labels", 100) if name == "cifar100" else ("labels", 10)
    rng = np.random.default_rng(0)

    def write(file: str, content: dict[str, Any]) -> str:
        (folder / file).write_bytes(data := pickle.dumps(content))
        return md5(data).hexdigest()

    def batch(file: str) -> list[str]:
        pixels = rng.integers(0, 256, (10, 3072), dtype=np.uint8)
        content = {"data": pixels, labels: [(7 * i) % count for i in range(10)], "coarse_labels": [0] * 10}
        return [file, write(file, content)]

    meta = {reader.meta["key"]: [f"thing {i}" for i in range(count)]}
    patch.setattr(reader, "train_list", [batch(file) for file, _ in reader.train_list])
    patch.setattr(reader, "test_list", [batch(file) for file, _ in reader.test_list])
    patch.setattr(reader, "meta", {**reader.meta, "md5": write(reader.meta["filename"], meta)})


def inaturalist(root: Path, rows: Iterable[tuple[str, str, str, int]], name: str = "user_120k") -> Path:
    """CSV files and images below `root`; `rows` are user, image, class, label, and every class has a test image."""
    rows = list(rows)
    folder = root / "inaturalist"
    lists = folder / ("inaturalist-user-120k" if "user" in name else "inaturalist-geo") / "inner"
    lists.mkdir(parents=True, exist_ok=True)
    lines = [f"{image},{user},{kind},{label}" for user, image, kind, label in rows]
    (lists / f"federated_train_{name}.csv").write_text("\n".join(["image_id,user_id,class,label", *lines]) + "\n")
    kinds = dict.fromkeys((kind, label) for _, _, kind, label in rows)
    tests = [f"t{label},{kind},{label}" for kind, label in kinds]
    (lists / "test.csv").write_text("\n".join(["image_id,class,label", *tests]) + "\n")
    for file, kind in [*((file, kind) for _, file, kind, _ in rows), *((f"t{label}", kind) for kind, label in kinds)]:
        image(folder / "train_val_images" / f"Group {kind[0]}" / kind / f"{file}.jpg", size=(12, 8))
    return lists


def in_two_processes(task: Callable[[Path, Any, Any], None], folder: Path) -> list[Any]:
    """Runs `task(folder, barrier, queue)` in two processes at once, and returns what they put into the queue."""
    context = multiprocessing.get_context("spawn")
    barrier, queue = context.Barrier(2), context.Queue()
    processes = [context.Process(target=task, args=(folder, barrier, queue)) for _ in range(2)]
    for process in processes:
        process.start()
    results = [queue.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
    return results
