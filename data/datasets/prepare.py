"""Preparing data sets from their archives, and verifying them."""

import hashlib
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fedprompt.data import loading, registry
from fedprompt.data.dataset import DataSet
from fedprompt.data.errors import DataError
from fedprompt.data.files import json_files
from fedprompt.data.files.archive import Archive, unpack
from fedprompt.data.files.atomic import atomic_write
from fedprompt.data.files.download import fetch, file_md5
from fedprompt.data.files.progress import progress_bar
from fedprompt.data.images.cache import find_unreadable
from fedprompt.data.images.decoding import ImageFiles
from fedprompt.data.registry import Source


@dataclass(frozen=True)
class Verification:
    """The result of `verify`: counts, checksum and faults."""

    name: str
    train: int
    test: int
    classes: int
    domains: int
    clients: int
    checksum: str  # hash of the content
    unreadable: dict[str, str]  # images that cannot be decoded, with reasons
    differs: tuple[str, ...]  # differences from the published counts; intended if the copy is a subset
    faults: tuple[str, ...]  # errors in the data
    notes: tuple[str, ...]


def prepare(name: str, root: Path | None = None, given: Sequence[Path] = ()) -> Verification:
    """Unpacks the missing archives of a data set, verifies it and stores its checksum.

    Args:
        name: Name of the data set.
        root: The folder for data sets.
        given: Archives, or folders with archives. By default, archives are taken from `root` if they are there, else
            downloaded.

    Raises:
        DataError: An archive is missing or invalid, or the data set cannot be read.
    """
    source = registry.source(name, root)
    if not source.archives:
        source.download()
        return _verified(source, root)
    if given and not source.absent():
        target = source.home / source.archives[0].target
        raise DataError(f"{name}: {target} already exists; delete it to unpack {given[0]} instead")
    files = _match(source, given)
    for archive in source.absent():
        if archive in files:
            _install(files[archive], archive, source.home)
        elif not given:
            _install(_downloaded(archive, source), archive, source.home)
    if absent := source.absent():
        raise DataError(f"{name}: still missing: {', '.join(archive.file for archive in absent)}; add them with --from")
    return _verified(source, root)


def _verified(source: Source, root: Path | None) -> Verification:
    """Verifies a data set and stores its checksum."""
    result = verify(source.name, root)
    json_files.write(_record(source), {"checksum": result.checksum})
    return result


def verify(name: str, root: Path | None = None) -> Verification:
    """Reads every byte and decodes every image of a data set. Raises DataError if it cannot be loaded at all."""
    source = registry.source(name, root)
    dataset = loading.load(name, root)
    counts = {
        "train": len(dataset.train_y),
        "test": len(dataset.test_y),
        "classes": len(dataset.classes),
        "domains": len(dataset.domains),
        "clients": len(dataset.client_names),
    }
    differs = [
        f"{what}: {count:,}, published: {published:,}"
        for what, count in counts.items()
        if (published := getattr(source, what)) not in (None, count)
    ]
    unreadable = find_unreadable(dataset.train_x, recheck=True) if isinstance(dataset.train_x, ImageFiles) else {}
    faults = list(unreadable.values())
    checksum = _checksum(dataset)
    before = json_files.read(_record(source)).get("checksum")
    if before and before != checksum:
        faults.append(f"the content has changed since preparation: checksum {checksum}, before {before}")
    return Verification(
        name,
        **counts,
        checksum=checksum,
        unreadable=unreadable,
        differs=tuple(differs),
        faults=tuple(faults),
        notes=dataset.notes,
    )


def _match(source: Source, given: Sequence[Path]) -> dict[Archive, Path]:
    """Returns the file of each archive: by name, or a file of any name if only one archive is missing."""
    absent = source.absent()
    by_name = {archive.file: archive for archive in absent}
    files: dict[Archive, Path] = {}
    for path in _files(given):
        if path.name in by_name:
            files[by_name[path.name]] = path
        elif len(absent) == 1 and path in given:
            files[absent[0]] = path
    if given and not files:
        paths, names = ", ".join(map(str, given)), ", ".join(by_name)
        raise DataError(f"{source.name}: {paths} is none of its missing files: {names}")
    return files


def _files(given: Sequence[Path]) -> Iterator[Path]:
    for path in given:
        if not path.exists():
            raise DataError(f"--from {path}: file not found")
        yield from sorted(path.iterdir()) if path.is_dir() else [path]


def _downloaded(archive: Archive, source: Source) -> Path:
    path = source.home / archive.file
    if not path.exists():
        if not archive.url:
            raise DataError(
                f"{source.name}: {archive.file} has no download address; request it from its authors\n"
                f"save it as {path}, or run `bench data prepare {source.name} --from FILE`"
            )
        fetch(archive.url, path, archive.md5)
    return path


def _install(file: Path, archive: Archive, home: Path) -> None:
    """Unpacks or copies a file to the archive's target. A file with the published name must have its checksum."""
    if archive.md5 and file.name == archive.file and file_md5(file) != archive.md5:
        raise DataError(f"{file} does not have the published md5 {archive.md5}: it is damaged or another file")
    target = home / archive.target
    if archive.target.endswith(".txt"):
        target.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(target, partial(shutil.copyfile, file))
    else:
        unpack(file, target)


def _checksum(dataset: DataSet) -> str:
    """Returns a hash of all image files in order, or the identity of a data set of arrays."""
    if not isinstance(dataset.train_x, ImageFiles):
        return dataset.identity
    files = dataset.train_x.whole
    digest = hashlib.sha256()
    with progress_bar(f"reading {dataset.name}", len(files)) as show:
        for i in range(len(files)):
            digest.update(_content(files, i))
            show(i + 1)
    return f"sha256:{digest.hexdigest()}"


def _content(files: ImageFiles, index: int) -> bytes:
    """Returns the bytes of an image file, or the pixels of a stored image; nothing if there is none."""
    if files.store is None:
        return path.read_bytes() if (path := files.path(index)).is_file() else b""
    try:
        return files[index].tobytes()
    except DataError:
        return b""


def _record(source: Source) -> Path:
    """Returns the file that stores the checksum."""
    return source.home / f".{re.sub(r'[^A-Za-z0-9.-]+', '-', source.name)}.checksum.json"
