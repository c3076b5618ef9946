"""Data sets of several domains in folders `DOMAIN/CLASS/*`: PACS, Office-Home, VLCS and Office-Caltech10."""

from typing import ClassVar

from fedprompt.data.dataset import DataSet
from fedprompt.data.datasets.listing import EVERY_FIFTH, Row, dataset, files_in, folders_in, hash_of_files, split
from fedprompt.data.errors import DataError, shortened
from fedprompt.data.files.archive import Archive
from fedprompt.data.registry import FolderSource, register


class DomainFolders(FolderSource):
    """Images `FOLDER/DOMAIN/CLASS/*`, with the same classes in every domain."""

    domain_folders: ClassVar[tuple[str, ...]]

    def load(self) -> DataSet:
        """Returns the images as files, with a fixed split; the classes are the folders of the first domain.

        The identity is a hash of the names and sizes of all files.

        Raises:
            DataError: A folder is missing, or there are too many or too few classes.
        """
        self.require()
        classes = self._folders(self.domain_folders[0])
        if len(classes) != self.classes:
            place = self.folder / self.domain_folders[0]
            raise DataError(f"{self.name}: {place} has {len(classes)} folders of classes; need {self.classes}")
        rows = []
        for domain in self.domain_folders:
            if absent := [label for label in classes if label not in self._folders(domain)]:
                raise DataError(f"{self.name}: {self.folder / domain} has no folder {shortened(absent)}")
            for label in classes:
                files = files_in(self.folder / domain / label)
                rows += [Row(f"{domain}/{label}/{name}", label, domain) for name in files]
        identity = hash_of_files(self.folder, rows)
        return dataset(self.name, self.folder, *split(rows), classes, identity, split_rule=EVERY_FIFTH)

    def _folders(self, domain: str) -> list[str]:
        path = self.folder / domain
        if not path.is_dir():
            present = ", ".join(folders_in(self.folder)) or "no folders"
            raise DataError(f"{self.name}: folder not found: {path}; {self.folder} contains {present}")
        return folders_in(path)


@register("pacs")
class Pacs(DomainFolders):
    """PACS (Li et al., ICCV 2017)."""

    description = "227x227 images in four styles; every fifth per domain and class is a test image"
    domain_folders = ("art_painting", "cartoon", "photo", "sketch")
    classes, train, test, domains = 7, 7_993, 1_998, len(domain_folders)
    terms = "no licence stated; research"
    archives = (Archive("PACS.zip", "PACS", 174_000_000),)


@register("office-home")
class OfficeHome(DomainFolders):
    """Office-Home (Venkateswara et al., CVPR 2017), as its authors' archive names the folders."""

    description = "65 things in offices and homes in four styles; every fifth per domain and class is a test image"
    domain_folders = ("Art", "Clipart", "Product", "Real World")
    classes, domains = 65, len(domain_folders)
    terms = "non-commercial research and education"
    archives = (Archive("OfficeHomeDataset_10072016.zip", "office_home", 1_100_000_000),)


@register("vlcs")
class Vlcs(DomainFolders):
    """VLCS (Fang, Xu and Rockmore, ICCV 2013), with the folders of facebookresearch/DomainBed.

    The counts are those that papers give; no copy of the archive was at hand to count.
    """

    description = (
        "photographs from four older data sets (counts not verified); every fifth per domain and class is a test image"
    )
    domain_folders = ("Caltech101", "LabelMe", "SUN09", "VOC2007")
    classes, train, test, domains = 5, 8_582, 2_147, len(domain_folders)
    terms = "those of Caltech101, LabelMe, SUN09 and VOC2007"
    archives = (Archive("VLCS.tar.gz", "VLCS", 0),)  # its size is not known to us, nor is that of the next


@register("office-caltech10")
class OfficeCaltech10(DomainFolders):
    """Office-Caltech10 (Gong et al., CVPR 2012), with the folders of med-air/FedBN."""

    description = "ten things of Office-31 and Caltech-256; every fifth per domain and class is a test image"
    domain_folders = ("amazon", "caltech", "dslr", "webcam")
    classes, train, test, domains = 10, 2_027, 506, len(domain_folders)
    terms = "no licence stated; research"
    archives = (Archive("office_caltech_10.zip", "office_caltech_10", 0),)
