"""From rows that name an image, its class, domain and client to a DataSet: what all sets of image files share."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from fedprompt.data.dataset import Array, DataSet
from fedprompt.data.errors import DataError
from fedprompt.data.images.decoding import album

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm")
NAMED = 3  # absent files that an error names
EVERY, FIRST = 5, 2  # of each group in order of name the 3rd, 8th, 13th ... image is a test image


class Row(NamedTuple):
    """One image: its path below the root, and the names of its class and, where it has them, domain and client."""

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
) -> DataSet:
    """The DataSet of the images below `root`; domains and clients are numbered in the order of their names.

    The identity is by default a hash of all rows. Raises DataError where a part is empty or an image is named twice.
    """
    for part, rows in (("training", train), ("test", test)):
        if not rows:
            raise DataError(f"{name}: there is no {part} image in {root}, or its lists name none; need at least one")
    _refuse_repeated(name, [row.path for row in (*train, *test)])
    identity = identity or hash_of("\t".join(row) for row in (*train, ("",), *test))
    domains = tuple(sorted({row.domain for row in (*train, *test)} - {""}))
    clients = tuple(sorted({row.client for row in (*train, *test)} - {""}, key=_by_number))
    train_x, test_x = album(root, [row.path for row in train], [row.path for row in test], name, identity)
    named = clients and all(row.client for row in test)
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
        test_clients=_positions(clients, (row.client for row in test)) if named else None,
        client_names=clients,
        identity=identity,
        notes=notes,
    )


def _refuse_repeated(name: str, paths: Sequence[str]) -> None:
    """Raises DataError, counting and naming them, for images named twice: training and test data must not share any."""
    if len(set(paths)) == len(paths):
        return
    twice = [path for path, times in Counter(paths).items() if times > 1]
    some = ", ".join(twice[:NAMED]) + (", ..." if len(twice) > NAMED else "")
    raise DataError(
        f"{name}: images that are named more than once: {len(twice)} ({some})\nleave one line for each image"
    )


def hash_of_files(root: Path, rows: Iterable[Row]) -> str:
    """A short hash of everything that the rows say and of the sizes of their files."""
    return hash_of("\t".join([*row, str((root / row.path).stat().st_size)]) for row in rows)


def hash_of(lines: Iterable[str]) -> str:
    """A short hash of lines, for identities."""
    digest = hashlib.sha256()
    for line in lines:
        digest.update(f"{line}\n".encode())
    return f"sha256:{digest.hexdigest()[:32]}"


def _positions(names: Sequence[str], values: Iterable[str]) -> Array:
    place = {name: i for i, name in enumerate(names)}
    return np.array([place[value] for value in values], dtype=np.int64)


def _by_number(name: str) -> tuple[int, str]:
    return (int(name), name) if name.isdecimal() else (-1, name)


def files_in(folder: Path) -> list[str]:
    """The names of the images in a folder, sorted; not those in its folders."""
    with os.scandir(folder) as found:
        return sorted(entry.name for entry in found if is_image(entry.name) and entry.is_file())


def folders_in(folder: Path) -> list[str]:
    """The names of the folders in a folder, sorted, without hidden ones."""
    with os.scandir(folder) as found:
        return sorted(entry.name for entry in found if entry.is_dir() and not entry.name.startswith("."))


def is_image(name: str) -> bool:
    """Whether a file goes by an image's name."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def split(rows: Iterable[Row]) -> tuple[list[Row], list[Row]]:
    """Training and test rows, about 80 and 20 %: every fifth of each domain and class, in order of path, is tested.

    A group of one or two is trained on; nothing is drawn, so everybody has the same split.
    """
    seen: dict[tuple[str, str], int] = {}
    parts: tuple[list[Row], list[Row]] = ([], [])
    for row in sorted(rows):
        count = seen.get((row.domain, row.label), 0)
        seen[row.domain, row.label] = count + 1
        parts[count % EVERY == FIRST].append(row)
    return parts


def refuse_absent(name: str, root: Path, rows: Iterable[Row], source: object) -> None:
    """Raises DataError, counting and naming them, where `source` lists files that are not below `root`."""
    absent, there = [], _Folders(root)
    for row in rows:
        if not there.holds(row.path):
            absent.append(row.path)
    if absent:
        some = ", ".join(absent[:NAMED]) + (", ..." if len(absent) > NAMED else "")
        raise DataError(
            f"{name}: {source} names {len(absent)} files that are not in {root}: {some}\n"
            "unpack the images there, or take these lines out"
        )


class _Folders:
    """Which files there are, asked of each folder once: thousands of times fewer questions than files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.names: dict[str, frozenset[str]] = {}

    def holds(self, path: str) -> bool:
        folder, _, name = path.rpartition("/")
        if folder not in self.names:
            place = self.root / folder
            self.names[folder] = frozenset(os.listdir(place)) if place.is_dir() else frozenset()
        return name in self.names[folder]


def inside(path: str, where: str) -> str:
    """`path` in POSIX form, if it stays below its root. Raises DataError, naming the line `where` it stands."""
    plain = PurePosixPath(path.strip().replace("\\", "/"))
    if plain.is_absolute() or ".." in plain.parts or not plain.parts:
        raise DataError(
            f"{where}: the path {path!r} does not lie below the data set's folder; need one such as a/b.jpg"
        )
    return str(plain)


def text(path: Path) -> str:
    """The text of a list of files. Raises DataError where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no readable list: {error}") from error


def table(path: Path, columns: Sequence[str]) -> list[tuple[str, ...]]:
    """The named columns of a CSV file, row by row, found by its header.

    Raises DataError where the file, a column or a value is missing.
    """
    import csv

    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = [word.strip() for word in next(reader, [])]
            if missing := [column for column in columns if column not in header]:
                found = ", ".join(header) or "nothing"
                raise DataError(f"{path} has no column {', '.join(missing)}; its header is: {found}")
            places = [header.index(column) for column in columns]
            rows = []
            for values in reader:
                if values and (len(values) <= max(places) or not all(values[i].strip() for i in places)):
                    raise DataError(f"{path} line {reader.line_num}: need a value for each of {', '.join(columns)}")
                if values:
                    rows.append(tuple(values[i].strip() for i in places))
    except FileNotFoundError:
        raise DataError(f"there is no file {path}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is no readable CSV file: {error}") from error
    return rows


def numbered(named: Iterable[tuple[str, str]], where: str, limit: int | None = None) -> list[str]:
    """Class names in order of their labels, from pairs of class name and label as files write them.

    Labels that a subset keeps from the whole set close up. Raises DataError where a label is no number, is not below
    `limit`, or goes with two names; `where` says of which file.
    """
    label_of: dict[str, int] = {}
    for name, word in dict.fromkeys(named):
        if not word.isdecimal() or (limit is not None and int(word) >= limit):
            need = "a whole number from 0" if limit is None else f"0 to {limit - 1}"
            raise DataError(f"{where}: the label {word!r} of class {name} is out of range; need {need}")
        if label_of.setdefault(name, int(word)) != int(word):
            raise DataError(f"{where}: class {name} has the labels {label_of[name]} and {word}; need one")
    names: dict[int, str] = {}
    for name, label in label_of.items():
        if names.setdefault(label, name) != name:
            raise DataError(f"{where}: the label {label} goes with {names[label]} and {name}; need one class")
    return [names[label] for label in sorted(names)]
