"""PACS (Li et al., 2017): seven classes as art paintings, cartoons, photographs and sketches."""

from fedprompt.data.dataset import DataSet
from fedprompt.data.datasets.listing import Row, dataset, files_in, folders_in, hash_of_files, split
from fedprompt.data.errors import DataError
from fedprompt.data.files.archive import Archive
from fedprompt.data.registry import FolderSource, register

DOMAINS = ("art_painting", "cartoon", "photo", "sketch")
CLASSES = ("dog", "elephant", "giraffe", "guitar", "horse", "house", "person")


@register("pacs")
class Pacs(FolderSource):
    """`PACS/DOMAIN/CLASS/*`."""

    description = "227x227 images in four styles; every fifth of a domain and class is a test image"
    classes, train, test, domains = len(CLASSES), 7_993, 1_998, len(DOMAINS)
    terms = "no licence stated; research"
    archives = (Archive("PACS.zip", "PACS", 174_000_000),)

    def load(self) -> DataSet:
        """The images as files, split the same way for everybody; the identity hashes the names and sizes of all files.

        Raises DataError where a folder is missing.
        """
        self.require()
        rows = []
        for domain in DOMAINS:
            for label in CLASSES:
                place = self.folder / domain / label
                if not place.is_dir():
                    found = ", ".join(folders_in(self.folder)) or "nothing"
                    raise DataError(f"{self.name}: there is no folder {place}; {self.folder} holds {found}")
                rows += [Row(f"{domain}/{label}/{name}", label, domain) for name in files_in(place)]
        return dataset(self.name, self.folder, *split(rows), CLASSES, identity=hash_of_files(self.folder, rows))
