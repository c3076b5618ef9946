"""From archives to a data set that is known to be whole."""

import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedprompt.data import registry
from fedprompt.data.dataset import DataSet
from fedprompt.data.errors import DataError
from fedprompt.data.files import json_files as jsonfile
from fedprompt.data.files.archive import Archive, unpack
from fedprompt.data.files.download import fetch, md5_of
from fedprompt.data.files.progress import bar
from fedprompt.data.images import cache
from fedprompt.data.images.decoding import ImageFiles
from fedprompt.data.registry import Source


@dataclass(frozen=True)
class Verdict:
    """What `verify` found: counts, checksum of the content, unreadable images with reasons, differences and faults.

    A copy that `differs` from the published counts may be a subset meant so; a fault is always one.
    """

    name: str
    train: int
    test: int
    classes: int
    domains: int
    clients: int
    checksum: str
    unreadable: dict[str, str]
    differs: tuple[str, ...]
    faults: tuple[str, ...]
    notes: tuple[str, ...]


def prepare(name: str, root: Path | None = None, given: Sequence[Path] = ()) -> Verdict:
    """Unpacks what is absent of a data set, from the files (or a folder with files) `given`, else downloads it.

    A file that lies in the data root under the archive's name is taken before any download. The content's checksum is
    then remembered beside the data. Raises DataError where something is still absent or cannot be read.
    """
    source = registry.source(name, root)
    if not source.archives:
        raise DataError(f"{name} needs no preparing: it is read where it lies; `bench data verify {name}` checks it")
    if given and not source.absent():
        places = ", ".join(str(source.home / archive.target) for archive in source.archives[:1])
        raise DataError(f"{name}: {places} is there already; remove it to unpack {given[0]} in its place")
    files = _matched(source, given)
    for archive in source.absent():
        if archive in files:
            _place(files[archive], archive, source.home)
        elif not given:
            _place(_downloaded(archive, source), archive, source.home)
    if absent := source.absent():
        raise DataError(f"{name}: still absent: {', '.join(archive.file for archive in absent)}; give them with --from")
    verdict = verify(name, root)
    jsonfile.write(_record(source), {"checksum": verdict.checksum})
    return verdict


def verify(name: str, root: Path | None = None) -> Verdict:
    """Reads every byte and decodes every image of a data set. Raises DataError where it cannot be loaded at all."""
    source = registry.source(name, root)
    dataset = registry.load(name, root)
    counts = {
        "train": len(dataset.train_y),
        "test": len(dataset.test_y),
        "classes": len(dataset.classes),
        "domains": len(dataset.domains),
        "clients": len(dataset.client_names),
    }
    differs = [
        f"{count:,} {what} where the published set has {wanted:,}"
        for what, count in counts.items()
        if (wanted := getattr(source, what)) not in (None, count)
    ]
    unreadable: dict[str, str] = {}
    if isinstance(dataset.train_x, ImageFiles):
        unreadable = cache.unreadable(dataset.train_x, again=True)
    faults = list(unreadable.values())
    checksum = _checksum(dataset)
    before = jsonfile.read(_record(source)).get("checksum")
    if before and before != checksum:
        faults.append(f"the content has changed since it was prepared: checksum {checksum}, then {before}")
    return Verdict(
        name,
        **counts,
        checksum=checksum,
        unreadable=unreadable,
        differs=tuple(differs),
        faults=tuple(faults),
        notes=dataset.notes,
    )


def _matched(source: Source, given: Sequence[Path]) -> dict[Archive, Path]:
    """Which file is which archive: by name, or the only one that is absent, whatever it is called."""
    absent = source.absent()
    by_name = {archive.file: archive for archive in absent}
    files: dict[Archive, Path] = {}
    for path in _files(given):
        if path.name in by_name:
            files[by_name[path.name]] = path
        elif len(absent) == 1 and path in given:
            files[absent[0]] = path
    if given and not files:
        names = ", ".join(by_name)
        raise DataError(f"{source.name}: {', '.join(map(str, given))} is none of its absent files: {names}")
    return files


def _files(given: Sequence[Path]) -> Iterator[Path]:
    for path in given:
        if not path.exists():
            raise DataError(f"--from {path}: there is no such file")
        yield from sorted(path.iterdir()) if path.is_dir() else [path]


def _downloaded(archive: Archive, source: Source) -> Path:
    path = source.home / archive.file
    if path.exists():
        return path
    if not archive.url:
        raise DataError(
            f"{source.name}: {archive.file} cannot be downloaded, it is given out by hand\n"
            f"put it at {path}, or name it: bench data prepare {source.name} --from FILE"
        )
    fetch(archive.url, path, archive.md5)
    return path


def _place(file: Path, archive: Archive, home: Path) -> None:
    """Makes the archive's target of `file`, held to the published checksum where it has the published name."""
    if archive.md5 and file.name == archive.file and md5_of(file) != archive.md5:
        raise DataError(f"{file} does not have the published md5 {archive.md5}: it is damaged or another file")
    target = home / archive.target
    if not archive.target.endswith(".txt"):
        unpack(file, target)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        shutil.copyfile(file, unfinished)
        os.replace(unfinished, target)
    finally:
        unfinished.unlink(missing_ok=True)


def _checksum(dataset: DataSet) -> str:
    """A hash of every byte of the images' files, in order; of array data sets the identity, which is one."""
    if not isinstance(dataset.train_x, ImageFiles):
        return dataset.identity
    album = dataset.train_x.whole
    digest = hashlib.sha256()
    with bar(f"reading {dataset.name}", len(album)) as show:
        for i in range(len(album)):
            if (path := album.path(i)).is_file():
                digest.update(path.read_bytes())
            show(i + 1)
    return f"sha256:{digest.hexdigest()}"


def _record(source: Source) -> Path:
    return source.home / f".{re.sub(r'[^A-Za-z0-9.-]+', '-', source.name)}.checksum.json"
