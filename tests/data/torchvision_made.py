"""Small local copies of torchvision's data sets, in the files that torchvision itself downloads and reads."""

import json
import struct
from hashlib import md5
from itertools import chain

import numpy as np
from torchvision import datasets

from tests.data.made import image


def food101(root):
    parts = {"train": 3, "test": 1}
    for part, count in parts.items():
        names = {label: [f"{label}/{part}{k}" for k in range(count)] for label in ("apple_pie", "waffles")}
        (root / "food-101" / "meta").mkdir(parents=True, exist_ok=True)
        (root / "food-101" / "meta" / f"{part}.json").write_text(json.dumps(names))
        for name in chain.from_iterable(names.values()):
            image(root / "food-101" / "images" / f"{name}.jpg", (50 * len(name), 0, 0), (9, 6))


def dtd(root):
    base = root / "dtd" / "dtd"
    (base / "labels").mkdir(parents=True)
    for part in ("train", "val", "test"):
        lines = [f"{label}/{label}_{part}.jpg" for label in ("banded", "dotted")]
        for number in (1, 2):  # the second partition has the other images for training
            name = {"train": "test", "val": "val", "test": "train"}[part] if number == 2 else part
            (base / "labels" / f"{name}{number}.txt").write_text("\n".join(lines) + "\n")
        for line in lines:
            image(base / "images" / line)


def eurosat(root, count=10):
    for label in ("Forest", "River"):
        for k in range(count):
            image(root / "eurosat" / "2750" / label / f"{label}_{k}.jpg", (k, 0, 0))


def caltech101(root):
    for label in ("BACKGROUND_Google", "Faces", "ant"):
        for k in range(1, 6):
            image(root / "caltech101" / "101_ObjectCategories" / label / f"image_{k:04}.jpg")


def pets(root):
    base = root / "oxford-iiit-pet"
    (base / "annotations").mkdir(parents=True)
    for part, numbers in (("trainval", (1, 2)), ("test", (3,))):
        lines = [f"{breed}_{k} {c + 1} 1 1" for c, breed in enumerate(("Abyssinian", "beagle")) for k in numbers]
        (base / "annotations" / f"{part}.txt").write_text("\n".join(lines) + "\n")
        for line in lines:
            image(base / "images" / f"{line.split()[0]}.jpg")


def aircraft(root):
    base = root / "fgvc-aircraft-2013b" / "data"
    base.mkdir(parents=True)
    for level, names in (("variants", ("737-700", "A320")), ("families", ("A320", "Boeing 737"))):
        (base / f"{level}.txt").write_text("\n".join(names) + "\n")
    for k, part in enumerate(("trainval", "test")):
        (base / f"images_variant_{part}.txt").write_text(f"{k}0 737-700\n{k}1 A320\n")
        (base / f"images_family_{part}.txt").write_text(f"{k}0 Boeing 737\n{k}1 A320\n")
        for name in (f"{k}0", f"{k}1"):
            image(base / "images" / f"{name}.jpg")


def cars(root):
    from scipy.io import savemat

    base = root / "stanford_cars"
    (base / "devkit").mkdir(parents=True)
    names = np.empty(2, dtype=object)
    names[:] = ["Audi TT", "BMW M3"]
    savemat(base / "devkit" / "cars_meta.mat", {"class_names": names})
    for place, folder in (("devkit/cars_train_annos", "cars_train"), ("cars_test_annos_withlabels", "cars_test")):
        rows = np.array([("1.jpg", 2), ("2.jpg", 1)], dtype=[("fname", object), ("class", int)])
        savemat(base / f"{place}.mat", {"annotations": rows})
        for name in ("1.jpg", "2.jpg"):
            image(base / folder / name)


def svhn(root, patch):
    from scipy.io import savemat

    known = dict(datasets.SVHN.split_list)
    for part, count in (("train", 4), ("test", 2)):
        pixels = np.zeros((32, 32, 3, count), np.uint8)
        pixels[..., 1, :] = 10 * np.arange(count)
        path = root / known[part][1]
        savemat(path, {"X": pixels, "y": np.arange(10, 10 - count, -1).reshape(-1, 1)})  # 10 stands for the digit 0
        known[part] = [known[part][0], path.name, md5(path.read_bytes()).hexdigest()]
    patch.setattr(datasets.SVHN, "split_list", known)


def idx(root, name, prefix="", classes=10):
    """Images of 28x28 and labels in the format of MNIST."""
    folder = root / name / "raw"
    folder.mkdir(parents=True)
    for part, count in (("train", 6), ("test" if prefix else "t10k", 3)):
        pixels = np.repeat(np.arange(count, dtype=np.uint8), 28 * 28)
        labels = (1 + np.arange(count) % (classes - 1)).astype(np.uint8)
        content = {"images-idx3": (struct.pack(">iiii", 0x803, count, 28, 28), pixels)}
        content["labels-idx1"] = (struct.pack(">ii", 0x801, count), labels)
        for kind, (head, values) in content.items():
            (folder / f"{prefix}{part}-{kind}-ubyte").write_bytes(head + values.tobytes())


def pcam(root, h5py):
    (root / "pcam").mkdir()
    for files, count in zip((datasets.PCAM._FILES[part] for part in ("train", "val", "test")), (4, 2, 2), strict=True):
        pixels = np.zeros((count, 96, 96, 3), np.uint8)
        pixels[..., 2] = 20 * np.arange(count)[:, None, None]
        for key, what, values in (("x", "images", pixels), ("y", "targets", np.arange(count).reshape(-1, 1, 1, 1) % 2)):
            with h5py.File(root / "pcam" / files[what][0], "w") as file:
                file[key] = values
