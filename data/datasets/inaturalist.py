"""iNaturalist by its photographers or by places (Hsu, Qi and Brown, 2020): natural clients of iNaturalist-2017."""

import os
import re
from pathlib import Path

from fedprompt.data.dataset import DataSet
from fedprompt.data.datasets.listing import Row, dataset, folders_in, hash_of, numbered, refuse_absent, table, text
from fedprompt.data.errors import DataError
from fedprompt.data.files.archive import Archive
from fedprompt.data.registry import Source, register

FOLDER = "inaturalist"
SITE = "http://storage.googleapis.com/gresearch/federated-vision-datasets"
IMAGES = Archive(
    "train_val_images.tar.gz",
    f"{FOLDER}/train_val_images",
    200_000_000_000,
    "https://ml-inat-competition-datasets.s3.amazonaws.com/2017/train_val_images.tar.gz",
    "7c784ea5e424efaec655bd392f87301f",
)
CLASSES = 1_203
TRAIN, TEST = ("user_id", "image_id", "class", "label"), ("image_id", "class", "label")


class INaturalist(Source):
    """`train_val_images/SUPERCATEGORY/Species/IMAGE_ID.jpg`, and a CSV file that says who took which."""

    classes, train, test = CLASSES, 120_300, 35_641
    terms = "iNaturalist 2017's terms: non-commercial research"
    split = ""  # the end of the CSV file's name

    def identity(self) -> str:
        """A hash of the two CSV files; the images are taken for the published ones."""
        return hash_of(text(path) for path in self._files())

    def load(self) -> DataSet:
        """The images as files, with their client: a photographer, or a cell of the map. Test images name none.

        Raises DataError where files or columns are missing or a label cannot be right.
        """
        self.require()
        root = self.home / IMAGES.target
        train_csv, test_csv = self._files()
        train, test = table(train_csv, TRAIN), table(test_csv, TEST)
        pairs = [(row[-2], row[-1]) for row in (*train, *test)]
        classes = numbered(pairs, f"{self.name}: {train_csv.name}, {test_csv.name}", CLASSES)
        place = _species(root)
        rows = [Row(f"{place.get(kind, '?')}/{kind}/{image}.jpg", kind, "", user) for user, image, kind, _ in train]
        tests = [Row(f"{place.get(kind, '?')}/{kind}/{image}.jpg", kind) for image, kind, _ in test]
        refuse_absent(self.name, root, rows, train_csv.name)
        refuse_absent(self.name, root, tests, test_csv.name)
        return dataset(self.name, root, rows, tests, classes, identity=self.identity())

    def _files(self) -> tuple[Path, Path]:
        """The CSV files of the training and the test images, wherever in the unpacked archive they lie."""
        self.require()
        folder = self.home / self.archives[-1].target
        wanted = re.compile(rf"(^|[_-]){self.split}$", re.IGNORECASE)
        found = sorted(path for path in folder.rglob("*.csv") if wanted.search(path.stem))
        if not found:
            there = ", ".join(sorted(path.name for path in folder.rglob("*.csv"))) or "none"
            raise DataError(f"{self.name}: no CSV file in {folder} ends in {self.split}; there: {there}")
        test = found[0].with_name("test.csv")
        if not test.is_file():
            raise DataError(f"{self.name}: {test} is missing beside {found[0].name}")
        return found[0], test


def _species(root: Path) -> dict[str, str]:
    """The supercategory of each species: the CSV files leave it out of the path."""
    return {species: group for group in folders_in(root) for species in os.listdir(root / group)}


def _splits(name: str, size: int) -> tuple[Archive, ...]:
    return (IMAGES, Archive(f"{name}.zip", f"{FOLDER}/{name}", size, f"{SITE}/{name}.zip"))


@register("inaturalist-user-120k")
class User120k(INaturalist):
    """A client is a photographer."""

    description = "plants and animals by photographer"
    clients, split, archives = 9_275, "user[_-]120k", _splits("inaturalist-user-120k", 10_000_000)


class Geo(INaturalist):
    """A client is a cell of the map; cells are split until none holds more than a number of images."""

    archives = _splits("inaturalist-geo", 30_000_000)


@register("inaturalist-geo-100")
class Geo100(Geo):
    """Cells of about 100 images."""

    description = "plants and animals by place, small cells"
    clients, split = 3_606, "geo[_-]100"


@register("inaturalist-geo-300")
class Geo300(Geo):
    """Cells of about 300 images."""

    description = "plants and animals by place"
    clients, split = 1_208, "geo[_-]300"


@register("inaturalist-geo-1k")
class Geo1k(Geo):
    """Cells of about 1,000 images."""

    description = "plants and animals by place"
    clients, split = 368, "geo[_-]1k"


@register("inaturalist-geo-3k")
class Geo3k(Geo):
    """Cells of about 3,000 images."""

    description = "plants and animals by place"
    clients, split = 135, "geo[_-]3k"


@register("inaturalist-geo-10k")
class Geo10k(Geo):
    """Cells of about 10,000 images."""

    description = "plants and animals by place, large cells"
    clients, split = 39, "geo[_-]10k"
