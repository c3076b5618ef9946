"""Tiny-ImageNet (Le and Yang, 2015): 200 classes of ImageNet at 64 px. Its validation split is the test data."""

from functools import lru_cache
from pathlib import Path

from fedprompt.data.dataset import DataSet
from fedprompt.data.datasets.listing import Row, dataset, files_in, folders_in, inside, refuse_absent, text
from fedprompt.data.errors import DataError
from fedprompt.data.files.archive import Archive
from fedprompt.data.registry import FolderSource, register

ANNOTATIONS = "val_annotations.txt"


@register("tiny-imagenet")
class TinyImageNet(FolderSource):
    """`train/WNID/images/*.JPEG`, `val/images/*.JPEG` and `val/val_annotations.txt`."""

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
        """The images as files. The classes are the folders with training images.

        Copies exist whose validation split names classes without any; such images are left out and counted in a note.
        The identity hashes names and labels; the images are taken for the published ones. Raises DataError where a part
        is missing.
        """
        self.require()
        try:
            return _load(self.name, self.folder, _stamp(self.folder))
        except OSError as error:
            raise DataError(
                f"{self.name}: {error.filename} is missing\nremove {self.folder}, then `bench data prepare {self.name}`"
            ) from error


def _stamp(folder: Path) -> tuple[int, ...]:
    """Changes when a file comes or goes: two questions a class instead of one for each image."""
    train = folder / "train"
    places = [folder / "val" / "images", folder / "val" / ANNOTATIONS, train]
    places += [train / wnid / "images" for wnid in folders_in(train)]
    return tuple(place.stat().st_mtime_ns for place in places)


@lru_cache(maxsize=2)
def _load(name: str, folder: Path, stamp: tuple[int, ...]) -> DataSet:
    wnids = folders_in(folder / "train")
    train = [Row(f"train/{c}/images/{file}", c) for c in wnids for file in files_in(folder / "train" / c / "images")]
    classes = sorted({row.label for row in train})
    marked = _annotations(name, folder)
    test = [row for row in marked if row.label in set(classes)]
    refuse_absent(name, folder, test, ANNOTATIONS)
    left_out = len(marked) - len(test)
    note = f"{left_out} of {len(marked):,} validation images left out: their classes have no training image"
    return dataset(name, folder, train, test, classes, notes=(note,) if left_out else ())


def _annotations(name: str, folder: Path) -> list[Row]:
    lines = text(folder / "val" / ANNOTATIONS).splitlines()
    rows = [line.split("\t") for line in lines if line.strip()]
    if wrong := [row for row in rows if len(row) < 2]:
        raise DataError(f"{name}: {ANNOTATIONS}: need FILE tab WNID, not {wrong[0][0]!r}")
    return [Row(inside(f"val/images/{row[0]}", ANNOTATIONS), row[1]) for row in rows]
