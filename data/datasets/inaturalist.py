"""iNaturalist-2017 with photographers or places as natural clients (Hsu, Qi and Brown, 2020)."""

import os
import re
from pathlib import Path

from fedprompt.data.dataset import DataSet, hash_of_lines
from fedprompt.data.datasets.listing import (
    Row,
    check_present,
    classes_by_label,
    dataset,
    folders_in,
    read_csv,
    read_text,
)
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
    """Images `train_val_images/SUPERCATEGORY/Species/IMAGE_ID.jpg`, and a CSV file with the client of each."""

    classes, train, test = CLASSES, 120_300, 35_641
    terms = "iNaturalist 2017's terms: non-commercial research"
    split = ""  # end of the name of the CSV file, as a regular expression

    def identity(self) -> str:
        """Returns a hash of the two CSV files, assuming that the images are the published ones."""
        return hash_of_lines(read_text(path) for path in self._files())

    def load(self) -> DataSet:
        """Returns the images as files; clients are photographers or map cells. Test images have no client.

        Raises:
            DataError: Files or columns are missing, or a label is invalid.
        """
        self.require()
        root = self.home / IMAGES.target
        train_csv, test_csv = self._files()
        train, test = read_csv(train_csv, TRAIN), read_csv(test_csv, TEST)
        pairs = [(row[-2], row[-1]) for row in (*train, *test)]
        classes = classes_by_label(pairs, f"{self.name}: {train_csv.name}, {test_csv.name}", CLASSES)
        # The CSV files omit the supercategory of each species.
        group_of = {species: group for group in folders_in(root) for species in os.listdir(root / group)}
        rows = [Row(f"{group_of.get(kind, '?')}/{kind}/{image}.jpg", kind, "", user) for user, image, kind, _ in train]
        tests = [Row(f"{group_of.get(kind, '?')}/{kind}/{image}.jpg", kind) for image, kind, _ in test]
        check_present(self.name, root, rows, train_csv.name)
        check_present(self.name, root, tests, test_csv.name)
        rule = "the published CSV files; test images have no client"
        return dataset(self.name, root, rows, tests, classes, identity=self.identity(), split_rule=rule)

    def _files(self) -> tuple[Path, Path]:
        """Returns the CSV files of the training and test images, wherever they are in the unpacked archive."""
        self.require()
        folder = self.home / self.archives[-1].target
        wanted = re.compile(rf"(^|[_-]){self.split}$", re.IGNORECASE)
        found = sorted(path for path in folder.rglob("*.csv") if wanted.search(path.stem))
        if not found:
            present = ", ".join(sorted(path.name for path in folder.rglob("*.csv"))) or "none"
            raise DataError(f"{self.name}: no CSV file in {folder} ends in {self.split}; found: {present}")
        test = found[0].with_name("test.csv")
        if not test.is_file():
            raise DataError(f"{self.name}: {test} is missing beside {found[0].name}")
        return found[0], test


def _splits(name: str, size: int) -> tuple[Archive, ...]:
    return (IMAGES, Archive(f"{name}.zip", f"{FOLDER}/{name}", size, f"{SITE}/{name}.zip"))


@register("inaturalist-user-120k")
class User120k(INaturalist):
    """Clients are photographers."""

    description = "plants and animals by photographer"
    clients, split, archives = 9_275, "user[_-]120k", _splits("inaturalist-user-120k", 10_000_000)


def _register_geo(cell: str, count: int, size: str) -> None:
    @register(f"inaturalist-geo-{cell}")
    class Geo(INaturalist):
        """Clients are cells of the map, which are split until none has more than a number of images."""

        description = f"plants and animals by place{size}"
        clients, split, archives = count, f"geo[_-]{cell}", _splits("inaturalist-geo", 30_000_000)


_register_geo("100", 3_606, ", small cells")
_register_geo("300", 1_208, "")
_register_geo("1k", 368, "")
_register_geo("3k", 135, "")
_register_geo("10k", 39, ", large cells")
