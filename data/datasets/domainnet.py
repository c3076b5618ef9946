"""DomainNet (Peng et al., 2019): up to 345 classes in six styles, split by the published file lists.

What several papers call DomainNet holds ten of the classes, so a name here says how many.
"""

from pathlib import Path

from fedprompt.data.dataset import DataSet
from fedprompt.data.datasets.listing import Row, dataset, hash_of, inside, numbered, refuse_absent, text
from fedprompt.data.errors import DataError
from fedprompt.data.files.archive import Archive
from fedprompt.data.registry import Source, register

SITE = "http://csr.bu.edu/ftp/visda/2019/multi-source"
IMAGES = {  # domain: (folder of the site, bytes, md5); clipart and painting in the cleaned version
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
    """`domainnet/DOMAIN/CLASS/*.jpg` and lists with lines `DOMAIN/CLASS/FILE LABEL`."""

    domains = len(IMAGES)
    terms = "non-commercial research and education"
    chosen: tuple[str, ...] = ()  # classes; none named: all
    limit: int | None = None  # labels of the lists
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
        """A hash of the lists, for the classes chosen; the images are taken for the published ones."""
        return self._identity(self._files())

    def load(self) -> DataSet:
        """The listed images as files, with the style of each as its domain.

        Raises DataError where lists or images are missing and where a label or path cannot be right.
        """
        self.require()
        root, files = self.home / FOLDER, self._files()
        rows = {path: self._rows(path) for path in files}
        pairs = (pair for found in rows.values() for pair in ((row.label, label) for row, label in found))
        classes = numbered(pairs, f"{self.name}: the lists in {self.lists}", self.limit)
        if absent := set(self.chosen) - set(classes):
            raise DataError(f"{self.name}: the lists in {self.lists} do not name the class {sorted(absent)[0]}")
        if self.limit and len(classes) != self.limit:
            raise DataError(
                f"{self.name}: the lists in {self.lists} name {len(classes)} classes, not {self.limit}\n"
                "put the published lists there; for lists of your own use domainnet:FOLDER"
            )
        kept = [c for c in classes if not self.chosen or c in self.chosen]
        parts: dict[str, list[Row]] = {"train": [], "test": []}
        for path, found in rows.items():
            part = [row for row, _ in found if row.label in set(kept)]
            refuse_absent(self.name, root, part, path)
            parts[path.stem.rpartition("_")[2]] += part
        return dataset(self.name, root, parts["train"], parts["test"], kept, identity=self._identity(files))

    def _identity(self, files: list[Path]) -> str:
        return hash_of([*self.chosen, *(f"{path.name}\n{text(path)}" for path in files)])

    def _files(self) -> list[Path]:
        if not self.lists.is_dir():
            self.require()
            raise DataError(f"{self.name}: there is no folder {self.lists}; need one with DOMAIN_train.txt in it")
        files = sorted(path for kind in ("train", "test") for path in self.lists.glob(f"*_{kind}.txt"))
        if not files:
            self.require()
            raise DataError(f"{self.name}: {self.lists} holds no list; need DOMAIN_train.txt and DOMAIN_test.txt")
        return files

    def _rows(self, path: Path) -> list[tuple[Row, str]]:
        """Each line as a Row and the label written in it."""
        rows = []
        for number, line in enumerate(text(path).splitlines(), 1):
            file, _, label = line.strip().rpartition(" ")
            where = f"{path} line {number}"
            if not label:
                continue
            if not file:
                raise DataError(f"{where}: need DOMAIN/CLASS/FILE LABEL, not {line.strip()!r}")
            if len(parts := inside(file, where).split("/")) != 3:
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
    """The ten classes of FedBN and its successors, in the published split of all their images."""

    description = "DomainNet's bird, feather, headphones, ice_cream, teapot, tiger, whale, windmill, wine_glass, zebra"
    classes, limit, chosen = 10, 345, TEN


@register("domainnet:LISTS")
class DomainNetLists(DomainNet):
    """Any choice of images and classes, by file lists of the published form."""

    description = "DomainNet by your own lists: a folder with DOMAIN_train.txt and DOMAIN_test.txt"
    archives = ()

    @property
    def lists(self) -> Path:
        """The folder asked for; a relative one lies under the data root where there is one."""
        return (self.root or Path()) / Path(self.argument).expanduser()
