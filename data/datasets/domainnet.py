"""DomainNet (Peng et al., 2019): up to 345 classes in six styles, split by the published file lists.

Several papers use ten of the classes and call them DomainNet, so the names here include the number.
"""

from pathlib import Path

from fedprompt.data.dataset import DataSet, hash_of_lines
from fedprompt.data.datasets.listing import Row, check_present, classes_by_label, dataset, read_text, relative_path
from fedprompt.data.errors import DataError
from fedprompt.data.files.archive import Archive
from fedprompt.data.registry import Source, register

SITE = "http://csr.bu.edu/ftp/visda/2019/multi-source"
IMAGES = {  # domain: (folder on the site, bytes, md5); the cleaned version of clipart and painting
    "clipart": ("groundtruth/", 1_300_000_000, "cd0d8f2d77a4e181449b78ed62bccf1e"),
    "infograph": ("", 4_000_000_000, "720380b86f9e6ab4805bb38b6bd135f8"),
    "painting": ("groundtruth/", 3_700_000_000, "1ae32cdb4f98fe7ab5eb0a351768abfd"),
    "quickdraw": ("", 400_000_000, "bdc1b6f09f277da1a263389efe0c7a66"),
    "real": ("", 5_600_000_000, "dcc47055e8935767784b7162e7c7cca6"),
    "sketch": ("", 2_500_000_000, "658d8009644040ff7ce30bb2e820850f"),
}
LISTS = {
    "clipart_train": "b4349693a7f9c05c53955725c47ed6cb",
    "clipart_test": "f5ddbcfd657a3acf9d0f7da10db22565",
    "infograph_train": "379b50054f4ac2018dca4f89421b92d9",
    "infograph_test": "779626b50869edffe8ea6941c3755c71",
    "painting_train": "7db0e7ca73ad9982f6e1f7f3ef372c0a",
    "painting_test": "232b35dc53f26d414686ae579e38d9b5",
    "quickdraw_train": "b732ced3939ac8efdd8c0a889dca56cc",
    "quickdraw_test": "c1a828fdfe216fb109f1c0083a252c6f",
    "real_train": "8ebf02c2075fadd564705f0dc7cd6291",
    "real_test": "6098816791c3ebed543c71ffa11b9054",
    "sketch_train": "1233bd18aa9a8a200bf4cecf1c34ef3e",
    "sketch_test": "d8a222e4672cfd585298aa14d02ea441",
}
TEN = ("bird", "feather", "headphones", "ice_cream", "teapot", "tiger", "whale", "windmill", "wine_glass", "zebra")
FOLDER = "domainnet"


class DomainNet(Source):
    """Images `domainnet/DOMAIN/CLASS/*.jpg` and lists with lines `DOMAIN/CLASS/FILE LABEL`."""

    domains = len(IMAGES)
    terms = "non-commercial research and education"
    chosen: tuple[str, ...] = ()  # classes; empty: all
    limit: int | None = None  # number of classes in the lists
    archives = tuple(
        Archive(f"{domain}.zip", f"{FOLDER}/{domain}", size, f"{SITE}/{place}{domain}.zip", md5)
        for domain, (place, size, md5) in IMAGES.items()
    ) + tuple(
        Archive(f"{name}.txt", f"{FOLDER}/{name}.txt", 1_000_000, f"{SITE}/domainnet/txt/{name}.txt", md5)
        for name, md5 in LISTS.items()
    )

    @property
    def lists(self) -> Path:
        """The folder with DOMAIN_train.txt and DOMAIN_test.txt."""
        return self.home / FOLDER

    def identity(self) -> str:
        """Returns a hash of the lists and the chosen classes, assuming that the images are the published ones."""
        return self._identity(self._files())

    def load(self) -> DataSet:
        """Returns the listed images as files; the style is the domain.

        Raises:
            DataError: Lists or images are missing, or a label or path is invalid.
        """
        self.require()
        root, files = self.home / FOLDER, self._files()
        rows = {path: self._rows(path) for path in files}
        pairs = ((row.label, label) for part in rows.values() for row, label in part)
        classes = classes_by_label(pairs, f"{self.name}: the lists in {self.lists}", self.limit)
        if absent := set(self.chosen) - set(classes):
            raise DataError(f"{self.name}: the lists in {self.lists} do not contain the class {sorted(absent)[0]}")
        if self.limit and len(classes) != self.limit:
            raise DataError(
                f"{self.name}: the lists in {self.lists} contain {len(classes)} classes, not {self.limit}\n"
                "put the published lists there; for your own lists use domainnet:FOLDER"
            )
        selected = [c for c in classes if not self.chosen or c in self.chosen]
        parts: dict[str, list[Row]] = {"train": [], "test": []}
        for path, listed in rows.items():
            part = [row for row, _ in listed if row.label in set(selected)]
            check_present(self.name, root, part, path)
            parts[path.stem.rpartition("_")[2]] += part
        rule = f"the lists in {FOLDER if self.archives else 'the given folder'}: DOMAIN_train.txt and DOMAIN_test.txt"
        identity = self._identity(files)
        return dataset(self.name, root, parts["train"], parts["test"], selected, identity, split_rule=rule)

    def _identity(self, files: list[Path]) -> str:
        return hash_of_lines([*self.chosen, *(f"{path.name}\n{read_text(path)}" for path in files)])

    def _files(self) -> list[Path]:
        if not self.lists.is_dir():
            self.require()
            raise DataError(
                f"{self.name}: folder not found: {self.lists}; it needs files DOMAIN_train.txt and DOMAIN_test.txt"
            )
        files = sorted(path for kind in ("train", "test") for path in self.lists.glob(f"*_{kind}.txt"))
        if not files:
            self.require()
            raise DataError(f"{self.name}: {self.lists} contains no lists; need DOMAIN_train.txt and DOMAIN_test.txt")
        return files

    def _rows(self, path: Path) -> list[tuple[Row, str]]:
        """Returns the row and the label of each line."""
        rows = []
        for number, line in enumerate(read_text(path).splitlines(), 1):
            file, _, label = line.strip().rpartition(" ")
            where = f"{path} line {number}"
            if not label:
                continue
            if not file or len(parts := relative_path(file, where).split("/")) != 3:
                raise DataError(f"{where}: need DOMAIN/CLASS/FILE LABEL, not {line.strip()!r}")
            rows.append((Row("/".join(parts), parts[1], parts[0]), label))
        return rows


@register("domainnet-345")
class DomainNet345(DomainNet):
    """All classes."""

    description = "photographs, paintings, drawings of 345 things; the published split"
    classes, train, test, limit = 345, 409_832, 176_743, 345


@register("domainnet-10")
class DomainNet10(DomainNet):
    """The ten classes that FedBN and later papers use, with all their images, in the published split."""

    description = "DomainNet's bird, feather, headphones, ice_cream, teapot, tiger, whale, windmill, wine_glass, zebra"
    classes, limit, chosen = 10, 345, TEN


@register("domainnet:LISTS")
class DomainNetLists(DomainNet):
    """Any selection of images and classes, given by file lists in the published format."""

    description = "DomainNet with your own lists: a folder with DOMAIN_train.txt and DOMAIN_test.txt"
    archives = ()

    @property
    def lists(self) -> Path:
        """The folder given after the colon."""
        return self.argument_path
