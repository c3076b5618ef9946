"""Tiny-ImageNet (Le and Yang, 2015): 200 classes of ImageNet at 64 px. Its validation split is the test data."""

from functools import lru_cache
from pathlib import Path

from fedprompt.data.dataset import DataSet
from fedprompt.data.datasets.listing import Row, check_present, dataset, files_in, folders_in, read_text, relative_path
from fedprompt.data.errors import DataError
from fedprompt.data.files.archive import Archive
from fedprompt.data.registry import FolderSource, register

ANNOTATIONS = "val_annotations.txt"


@register("tiny-imagenet")
class TinyImageNet(FolderSource):
    """Images `train/WNID/images/*.JPEG` and `val/images/*.JPEG`, and `val/val_annotations.txt`."""

    description = "ImageNet photographs at 64x64; the published validation split is the test data"
    classes, train, test = 200, 100_000, 10_000
    terms = "ImageNet's terms: non-commercial research"
    archives = (
        Archive(
            "tiny-imagenet-200.zip",
            "tiny-imagenet-200",
            248_100_043,
            "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
            "90528d7ca1a48142e341f4ef8d21d0de",
        ),
    )

    def load(self) -> DataSet:
        """Returns the images as files. The classes are the folders with training images.

        Some copies have validation images of other classes; these are excluded and counted in a note. The identity is a
        hash of names and labels, assuming that the images are the published ones.

        Raises:
            DataError: A file or folder is missing.
        """
        self.require()
        try:
            return _load(self.name, self.folder, _stamp(self.folder))
        except OSError as error:
            raise DataError(
                f"{self.name}: {error.filename} is missing\n"
                f"delete {self.folder}, then run `bench data prepare {self.name}`"
            ) from error


def _stamp(folder: Path) -> tuple[int, ...]:
    """Changes when a file is added or removed. Folder times suffice, so images are not inspected."""
    train = folder / "train"
    paths = [folder / "val" / "images", folder / "val" / ANNOTATIONS, train]
    paths += [train / wnid / "images" for wnid in folders_in(train)]
    return tuple(path.stat().st_mtime_ns for path in paths)


@lru_cache(maxsize=2)
def _load(name: str, folder: Path, stamp: tuple[int, ...]) -> DataSet:
    wnids = folders_in(folder / "train")
    train = [Row(f"train/{c}/images/{file}", c) for c in wnids for file in files_in(folder / "train" / c / "images")]
    classes = sorted({row.label for row in train})
    annotated = _annotations(name, folder)
    test = [row for row in annotated if row.label in set(classes)]
    check_present(name, folder, test, ANNOTATIONS)
    excluded = len(annotated) - len(test)
    note = f"{excluded} of {len(annotated):,} validation images excluded: their classes have no training images"
    return dataset(
        name,
        folder,
        train,
        test,
        classes,
        notes=(note,) if excluded else (),
        split_rule="the published training images; the published validation images are the test data",
    )


def _annotations(name: str, folder: Path) -> list[Row]:
    lines = read_text(folder / "val" / ANNOTATIONS).splitlines()
    rows = [line.split("\t") for line in lines if line.strip()]
    if invalid := [row for row in rows if len(row) < 2]:
        raise DataError(f"{name}: {ANNOTATIONS}: need FILE tab WNID, not {invalid[0][0]!r}")
    return [Row(relative_path(f"val/images/{row[0]}", ANNOTATIONS), row[1]) for row in rows]
