"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009), read by torchvision."""

from typing import Any

import numpy as np

from fedprompt.data.dataset import DataSet
from fedprompt.data.errors import DataError
from fedprompt.data.files.archive import Archive
from fedprompt.data.registry import Source, register

SITE = "https://www.cs.toronto.edu/~kriz"


def _archive(name: str, target: str, size: int, md5: str) -> tuple[Archive]:
    return (Archive(f"{name}.tar.gz", target, size, f"{SITE}/{name}.tar.gz", md5),)


class Cifar(Source):
    """32x32 photographs in `cifar-10-batches-py` or `cifar-100-python`."""

    train, test = 50_000, 10_000
    terms = "no licence stated; cite Krizhevsky (2009)"

    def identity(self) -> str:
        """Returns the md5 of the published archive. torchvision verifies every file, so no other content can load."""
        return f"{self.name}:md5:{self.archives[0].md5}"

    def load(self) -> DataSet:
        """Returns images uint8 [N, 32, 32, 3] with fine labels. Raises DataError for files with another checksum."""
        from torchvision import datasets

        self.require()
        try:
            reader: Any = getattr(datasets, self.name.upper())
            train, test = (reader(self.home, train=part) for part in (True, False))
        except RuntimeError as error:
            place = self.home / self.archives[0].target
            raise DataError(
                f"{self.name}: the files in {place} differ from the published ones (md5)\n"
                f"delete that folder, then run `bench data prepare {self.name}`"
            ) from error
        train_y, test_y = (np.array(part.targets, dtype=np.int64) for part in (train, test))
        return DataSet(
            self.name,
            train.data,
            train_y,
            test.data,
            test_y,
            tuple(train.classes),
            identity=self.identity(),
            split_rule="the published training and test images",
        )


@register("cifar10")
class Cifar10(Cifar):
    """10 classes with 6,000 images each."""

    description = "32x32 photographs of animals and vehicles"
    classes = 10
    archives = _archive("cifar-10-python", "cifar-10-batches-py", 170_498_071, "c58f30108f718f92721af3b95e74349a")


@register("cifar100")
class Cifar100(Cifar):
    """100 classes with 600 images each."""

    description = "32x32 photographs; the fine labels"
    classes = 100
    archives = _archive("cifar-100-python", "cifar-100-python", 169_001_437, "eb9058c3a382ffc7106e4002c42a8d85")
