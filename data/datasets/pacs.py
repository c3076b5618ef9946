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
    """Images `PACS/DOMAIN/CLASS/*`."""

    description = "227x227 images in four styles; every fifth per domain and class is a test image"
    classes, train, test, domains = len(CLASSES), 7_993, 1_998, len(DOMAINS)
    terms = "no licence stated; research"
    archives = (Archive("PACS.zip", "PACS", 174_000_000),)

    def load(self) -> DataSet:
        """Returns the images as files, with a fixed split. The identity is a hash of the names and sizes of all files.

        Raises:
            DataError: A folder is missing.
        """
        self.require()
        rows = []
        for domain in DOMAINS:
            for label in CLASSES:
                path = self.folder / domain / label
                if not path.is_dir():
                    present = ", ".join(folders_in(self.folder)) or "no folders"
                    raise DataError(f"{self.name}: folder not found: {path}; {self.folder} contains {present}")
                rows += [Row(f"{domain}/{label}/{name}", label, domain) for name in files_in(path)]
        return dataset(self.name, self.folder, *split(rows), CLASSES, identity=hash_of_files(self.folder, rows))
