"""Building a DataSet of image files from rows with their paths, classes, domains and clients."""

import csv
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from fedprompt.data.dataset import Array, DataSet, hash_of_lines
from fedprompt.data.errors import DataError, reason, shortened
from fedprompt.data.images.decoding import ImageStore, train_test_files

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm")
EVERY, FIRST = 5, 2  # the 3rd, 8th, 13th ... image of a group is a test image
EVERY_FIFTH = "every fifth image per domain and class, in order of path, is a test image"
SPLIT_SEED = 0
DRAWN_FIFTH = f"a fifth of the images per domain and class, drawn once with seed {SPLIT_SEED}, is the test data"


class Row(NamedTuple):
    """An image: its path relative to the root, and the names of its class and, optionally, domain and client."""

    path: str
    label: str
    domain: str = ""
    client: str = ""


def dataset(
    name: str,
    root: Path,
    train: Sequence[Row],
    test: Sequence[Row],
    classes: Sequence[str],
    identity: str = "",
    notes: tuple[str, ...] = (),
    split_rule: str = "",
    store: ImageStore | None = None,
) -> DataSet:
    """Returns the DataSet of the given images; domains and clients are numbered in order of name.

    Args:
        name: Name of the data set.
        root: The folder that contains the images.
        train: The training images.
        test: The test images.
        classes: The class names in order of label.
        identity: By default a hash of all rows.
        notes: Notes for users.
        split_rule: Which images are training and which are test images.
        store: Contains the images, if they are not files of their own.

    Raises:
        DataError: There are no training or test images, or an image is listed twice.
    """
    for part, rows in (("training", train), ("test", test)):
        if not rows:
            raise DataError(f"{name}: no {part} images in {root} or in its lists; need at least one")
    times = Counter(row.path for row in (*train, *test))
    if repeated := [path for path, count in times.items() if count > 1]:  # training and test data may not overlap
        images = f"{len(repeated)} ({shortened(repeated)})"
        raise DataError(f"{name}: images listed more than once: {images}\nkeep one line per image")
    identity = identity or hash_of_lines("\t".join(row) for row in (*train, ("",), *test))
    domains = tuple(sorted({row.domain for row in (*train, *test)} - {""}))
    clients = tuple(sorted({row.client for row in (*train, *test)} - {""}, key=_numerically))
    train_paths, test_paths = ([row.path for row in part] for part in (train, test))
    train_x, test_x = train_test_files(root, train_paths, test_paths, name, identity, store)
    all_have_clients = clients and all(row.client for row in test)
    return DataSet(
        name,
        train_x,
        _positions(classes, (row.label for row in train)),
        test_x,
        _positions(classes, (row.label for row in test)),
        tuple(classes),
        train_domains=_positions(domains, (row.domain for row in train)) if domains else None,
        test_domains=_positions(domains, (row.domain for row in test)) if domains else None,
        domains=domains,
        train_clients=_positions(clients, (row.client for row in train)) if clients else None,
        test_clients=_positions(clients, (row.client for row in test)) if all_have_clients else None,
        client_names=clients,
        identity=identity,
        split_rule=split_rule,
        notes=notes,
    )


def hash_of_files(root: Path, rows: Iterable[Row]) -> str:
    """Returns a short hash of the rows and the sizes of their files."""
    return hash_of_lines("\t".join([*row, str((root / row.path).stat().st_size)]) for row in rows)


def _positions(names: Sequence[str], values: Iterable[str]) -> Array:
    position = {name: i for i, name in enumerate(names)}
    return np.array([position[value] for value in values], dtype=np.int64)


def _numerically(name: str) -> tuple[int, str]:
    return (int(name), name) if name.isdecimal() else (-1, name)


def files_in(folder: Path) -> list[str]:
    """Returns the names of the images directly in a folder, sorted."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if is_image(entry.name) and entry.is_file())


def folders_in(folder: Path) -> list[str]:
    """Returns the names of the folders in a folder, sorted, without hidden ones."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))


def is_image(name: str) -> bool:
    """Whether a file name is that of an image; hidden files are not."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def split(rows: Iterable[Row]) -> tuple[list[Row], list[Row]]:
    """Returns training and test rows, about 80 and 20 %.

    Per domain and class, every fifth image in order of path is a test image; groups of one or two have none. The split
    is deterministic.
    """
    sizes: Counter[tuple[str, str]] = Counter()
    parts: tuple[list[Row], list[Row]] = ([], [])
    for row in sorted(rows):
        parts[sizes[row.domain, row.label] % EVERY == FIRST].append(row)
        sizes[row.domain, row.label] += 1
    return parts


def drawn_split(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """Returns training and test rows in their order, 80 and 20 % of each domain and class.

    A fifth of each group, rounded, is drawn with `SPLIT_SEED`; groups of one or two have no test image.
    """
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in sorted(rows):
        groups.setdefault((row.domain, row.label), []).append(row)
    rng = np.random.default_rng(SPLIT_SEED)
    chosen = (
        group[i]
        for _, group in sorted(groups.items())
        for i in rng.permutation(len(group))[: round(len(group) / EVERY)]
    )
    tests = {row.path for row in chosen}
    return [row for row in rows if row.path not in tests], [row for row in rows if row.path in tests]


def check_present(name: str, root: Path, rows: Iterable[Row], source: object) -> None:
    """Raises DataError if files that `source` lists are not in `root`. Reads each folder once."""

    @cache
    def names_in(folder: str) -> frozenset[str]:
        return frozenset(os.listdir(root / folder)) if (root / folder).is_dir() else frozenset()

    absent = [row.path for row in rows if row.path.rpartition("/")[2] not in names_in(row.path.rpartition("/")[0])]
    if absent:
        raise DataError(
            f"{name}: {source} lists {len(absent)} files that are not in {root}: {shortened(absent)}\n"
            "unpack the images there, or remove these lines"
        )


def relative_path(path: str, where: str) -> str:
    """Returns `path` in POSIX form. Raises DataError, with the line `where` it is listed, if it leaves its root."""
    plain = PurePosixPath(path.strip().replace("\\", "/"))
    if plain.is_absolute() or ".." in plain.parts or not plain.parts:
        raise DataError(f"{where}: the path {path!r} is not inside the data set's folder; need one such as a/b.jpg")
    return str(plain)


def read_text(path: Path) -> str:
    """Returns the text of a list of files. Raises DataError if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not a readable list: {error}") from error


def read_csv(path: Path, columns: Sequence[str]) -> list[tuple[str, ...]]:
    """Returns columns of a CSV file, row by row. Raises DataError if the file, a column or a value is missing."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = [name.strip() for name in next(reader, [])]
            if missing := [column for column in columns if column not in header]:
                present = ", ".join(header) or "nothing"
                raise DataError(f"{path} has no column {', '.join(missing)}; its header is: {present}")
            indices = [header.index(column) for column in columns]
            rows = []
            for values in filter(None, reader):
                if len(values) <= max(indices) or not all(values[i].strip() for i in indices):
                    raise DataError(f"{path} line {reader.line_num}: need a value for each of {', '.join(columns)}")
                rows.append(tuple(values[i].strip() for i in indices))
            return rows
    except OSError as error:
        raise DataError(f"{path} cannot be read: {reason(error)}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a readable CSV file: {error}") from error


def classes_by_label(pairs: Iterable[tuple[str, str]], where: str, limit: int | None = None) -> list[str]:
    """Returns class names in order of label; labels need not be consecutive.

    Args:
        pairs: Class names and labels, as written in a file.
        where: The file, for messages.
        limit: Labels must be below it.

    Raises:
        DataError: A label is invalid, or a class and a label do not correspond one to one.
    """
    label_of: dict[str, int] = {}
    for name, text in dict.fromkeys(pairs):
        if not text.isdecimal() or (limit is not None and int(text) >= limit):
            need = "a whole number from 0" if limit is None else f"0 to {limit - 1}"
            raise DataError(f"{where}: the label {text!r} of class {name} is out of range; need {need}")
        if label_of.setdefault(name, int(text)) != int(text):
            raise DataError(f"{where}: class {name} has the labels {label_of[name]} and {text}; need one")
    names: dict[int, str] = {}
    for name, label in label_of.items():
        if names.setdefault(label, name) != name:
            raise DataError(f"{where}: the classes {names[label]} and {name} have the same label {label}")
    return [names[label] for label in sorted(names)]
