"""`torchvision:NAME`: classification data sets in the files and folders that torchvision downloads and reads."""

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fedprompt.data.dataset import Array, DataSet, hash_of_lines
from fedprompt.data.datasets.listing import (
    DRAWN_FIFTH,
    Row,
    check_present,
    dataset,
    drawn_split,
    hash_of_files,
    is_image,
)
from fedprompt.data.errors import DataError, unknown
from fedprompt.data.images.decoding import ImageStore
from fedprompt.data.registry import Source, register

if TYPE_CHECKING:
    from PIL import Image

Arguments = Mapping[str, Any]


class Layout(NamedTuple):
    """Where torchvision keeps a data set, and its published split."""

    place: str  # folder or files below the data root
    train: tuple[Arguments, ...] = ({},)  # arguments of torchvision's class for the parts that are training data
    test: Arguments | None = None  # None: there is no published split
    options: Arguments = {}  # further arguments that a name may set, with their defaults


def _split(*train: str, test: str = "test") -> tuple[tuple[Arguments, ...], Arguments]:
    return tuple({"split": part} for part in train), {"split": test}


FLAG: tuple[tuple[Arguments, ...], Arguments] = (({"train": True},), {"train": False})
LAYOUTS = {
    "Caltech101": Layout("caltech101"),
    "Caltech256": Layout("caltech256"),
    "Country211": Layout("country211", *_split("train", "valid")),
    "DTD": Layout("dtd", *_split("train", "val"), {"partition": 1}),
    "EMNIST": Layout("EMNIST", *FLAG, {"split": "balanced"}),
    "EuroSAT": Layout("eurosat"),
    "FGVCAircraft": Layout("fgvc-aircraft-2013b", *_split("trainval"), {"annotation_level": "variant"}),
    "FashionMNIST": Layout("FashionMNIST", *FLAG),
    "Flowers102": Layout("flowers-102", *_split("train", "val")),
    "Food101": Layout("food-101", *_split("train")),
    "GTSRB": Layout("gtsrb", *_split("train")),
    "KMNIST": Layout("KMNIST", *FLAG),
    "MNIST": Layout("MNIST", *FLAG),
    "OxfordIIITPet": Layout("oxford-iiit-pet", *_split("trainval")),
    "PCAM": Layout("pcam", *_split("train", "val")),
    "RenderedSST2": Layout("rendered-sst2", *_split("train", "val")),
    "STL10": Layout("stl10_binary", *_split("train")),
    "SUN397": Layout("SUN397"),
    "SVHN": Layout("*_32x32.mat", *_split("train")),
    "StanfordCars": Layout("stanford_cars", *_split("train")),
    "USPS": Layout("usps*.bz2", *FLAG),
}
ERRORS = (RuntimeError, OSError, ValueError, LookupError, TypeError, ImportError)  # of torchvision's readers


@register("torchvision:NAME")
class Torchvision(Source):
    """A data set of `LAYOUTS` below the data root, as `torchvision.datasets.NAME(root)` finds it."""

    description = f"as torchvision stores it, in the published split: {', '.join(LAYOUTS)}"
    terms = "see the data set's documentation in torchvision"

    def __init__(self, name: str, root: Path | None) -> None:
        super().__init__(name, root)
        self.home = self.home.expanduser()
        words, options = self.words(LAYOUTS[self._kind].options if self._kind in LAYOUTS else ())
        if words != [self._kind] or self._kind not in LAYOUTS:
            raise unknown("torchvision data set", ":".join(words), LAYOUTS)
        self.layout = LAYOUTS[self._kind]
        defaults = self.layout.options
        try:
            self.options = {**defaults, **{key: type(defaults[key])(value) for key, value in options.items()}}
        except ValueError as error:
            raise DataError(f"{name}: an option is not a whole number; default: {dict(defaults)}") from error

    @property
    def _kind(self) -> str:
        return self.argument.partition(":")[0]

    def download(self) -> None:
        """Downloads the data set with torchvision. Raises DataError if that fails."""
        self.home.mkdir(parents=True, exist_ok=True)
        try:
            for arguments in self._parts():
                self._open(arguments, download=True)
        except ERRORS as error:
            raise DataError(
                f"{self.name}: torchvision cannot download it: {_line(error)}\n"
                f"download it on another machine and copy {self.layout.place} into {self.home}"
            ) from error

    def load(self) -> DataSet:
        """Returns images as files or, where torchvision reads them from one file, as arrays or from a store.

        Classes without an image are left out. The identity is a hash of labels, names and sizes of files, or of arrays.

        Raises:
            DataError: Files are missing or damaged, or the name is unknown.
        """
        places = sorted(self.home.glob(self.layout.place))
        if not places:
            raise DataError(
                f"{self.name}: not found: {self.home / self.layout.place} (use --data-root for another folder)\n"
                f"run `bench data prepare {self.name}`; without network access, copy the files that "
                f"torchvision.datasets.{self._kind}(root, download=True) puts there"
            )
        return _read(self.name, self.root, f"{self.home.absolute()} {_stamp(places)}")

    def read(self) -> DataSet:
        """Reads the data set, see `load`."""
        try:
            train = [self._open(arguments) for arguments in self.layout.train]
            test = [self._open(self.layout.test)] if self.layout.test else []
            labels = [np.concatenate([_labels(part) for part in parts]) for parts in (train, test) if parts]
        except ERRORS as error:
            raise DataError(
                f"{self.name}: torchvision cannot read {self.home / self.layout.place}: {_line(error)}\n"
                f"delete what is there and run `bench data prepare {self.name}`"
            ) from error
        used = np.unique(np.concatenate(labels))
        names = _class_names(train[0], used)
        if hasattr(train[0], "data"):
            return self._of_arrays(train, test, [np.searchsorted(used, part) for part in labels], names)
        label_names = [[names[i] for i in np.searchsorted(used, part)] for part in labels]
        return self._of_files(train, test, label_names, names)

    def _of_arrays(self, train: list[Any], test: list[Any], labels: list[Array], names: list[str]) -> DataSet:
        pixels = [np.concatenate([_pixels(part.data) for part in parts]) for parts in (train, test)]
        notes = ("letters and digits are transposed, as in torchvision",) if self._kind == "EMNIST" else ()
        return DataSet(
            self.name,
            pixels[0],
            labels[0],
            pixels[1],
            labels[1],
            tuple(names),
            split_rule=self._split_rule(),
            notes=notes,
        )

    def _of_files(self, train: list[Any], test: list[Any], labels: list[list[str]], names: list[str]) -> DataSet:
        store = None if _files(train[0]) else Store(train + test)
        paths = [list(chain.from_iterable(map(self._paths, parts))) for parts in (train, test) if parts]
        parts = [[Row(*pair) for pair in zip(*part, strict=True)] for part in zip(paths, labels, strict=True)]
        rows = [row for part in parts for row in part]
        if store is None:
            check_present(self.name, self.home, rows, f"torchvision's {self._kind}")
            identity = hash_of_files(self.home, rows)
        else:
            sizes = [f"{path.name}\t{path.stat().st_size}" for path in store.files]
            identity = hash_of_lines(["\t".join(row) for row in rows] + sizes)
        train_rows, test_rows = parts if self.layout.test else drawn_split(rows)
        rule = self._split_rule()
        return dataset(self.name, self.home, train_rows, test_rows, names, identity, split_rule=rule, store=store)

    def _paths(self, part: Any) -> list[str]:
        """Returns the paths of images relative to the data root, or the rows of images in one file."""
        if files := _files(part):
            return [Path(path).relative_to(self.home).as_posix() for path in files]
        return [f"{part._split}/{row:07}" for row in range(len(part))]

    def _split_rule(self) -> str:
        if self.layout.test is None:
            return DRAWN_FIFTH
        used = " and ".join(map(_part_name, self.layout.train))
        return f"torchvision's {used} images; its {_part_name(self.layout.test)} images are the test data"

    def _parts(self) -> list[Arguments]:
        return [*self.layout.train, *([self.layout.test] if self.layout.test else [])]

    def _open(self, arguments: Arguments, download: bool = False) -> Any:
        from torchvision import datasets

        return getattr(datasets, self._kind)(self.home, **arguments, **self.options, download=download)


class Store(ImageStore):
    """Images that torchvision reads from one large file, such as PCAM's."""

    def __init__(self, parts: Sequence[Any]) -> None:
        self._parts = {part._split: part for part in parts}
        self.files = [part._base_folder / file[0] for part in parts for file in part._FILES[part._split].values()]

    def open(self, part: str, row: int) -> "Image.Image":
        """Returns one image."""
        image: Image.Image = self._parts[part][row][0]
        return image


@lru_cache(maxsize=4)
def _read(name: str, root: Path | None, stamp: str) -> DataSet:
    # The stamp is part of the key so that changed files are read again.
    return Torchvision(name, root).read()


def _stamp(places: Iterable[Path]) -> str:
    """Changes when a file is added, removed or, unless it is an image, modified. Inspects no image."""
    paths = []
    for place in places:
        for folder, _, files in os.walk(place):
            paths += [folder, *(os.path.join(folder, file) for file in files if not is_image(file))]
        paths += [str(place)] if place.is_file() else []
    return hash_of_lines(f"{path}\t{(stat := os.stat(path)).st_size}\t{stat.st_mtime_ns}" for path in sorted(paths))


def _labels(part: Any) -> Array:
    if samples := _samples(part):
        return np.array([label for _, label in samples], dtype=np.int64)
    for name in ("_labels", "targets", "labels", "y"):
        if hasattr(part, name):
            return np.asarray(getattr(part, name), dtype=np.int64)
    with part.h5py.File(part._base_folder / part._FILES[part._split]["targets"][0]) as file:  # PCAM
        return np.asarray(file["y"], dtype=np.int64).reshape(-1)


def _files(part: Any) -> list[str | Path]:
    """Returns the image files of a part; empty if its images are not files of their own."""
    if samples := _samples(part):
        return [path for path, _ in samples]
    if hasattr(part, "index"):  # Caltech101 and Caltech256 keep class and number
        return [_caltech(part, label, number) for label, number in zip(part.y, part.index, strict=True)]
    return list(getattr(part, "_image_files", None) or getattr(part, "_images", None) or ())


def _samples(part: Any) -> list[tuple[str, int]]:
    return list(getattr(part, "_samples", None) or getattr(part, "samples", None) or ())


def _caltech(part: Any, label: int, number: int) -> Path:
    folder = f"{101 if type(part).__name__ == 'Caltech101' else 256}_ObjectCategories"
    file = f"image_{number:04}.jpg" if folder.startswith("101") else f"{label + 1:03}_{number:04}.jpg"
    return Path(part.root, folder, part.categories[label], file)


def _class_names(part: Any, used: Array) -> list[str]:
    names = getattr(part, "classes", None) or getattr(part, "categories", None)
    return [str(names[i]) if names else str(i) for i in used]


def _pixels(data: Any) -> Array:
    """Returns uint8 [N, H, W, 3] from [N, 3, H, W] or from grey images [N, H, W]."""
    pixels = np.asarray(data)
    if pixels.ndim == 3:
        return np.repeat(pixels[..., None], 3, axis=3)
    return np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))


def _part_name(arguments: Arguments) -> str:
    return str(arguments["split"]) if "split" in arguments else "training" if arguments["train"] else "test"


def _line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
