"""`hf:REPO[:CONFIG][:OPTION=VALUE...]`: image data sets of the Hugging Face Hub, or folders in its library's formats.

The `datasets` package is an extra: `pip install "fedprompt-bench[hf]"`. Loading never downloads: it reads what
`bench data prepare` or `datasets.load_dataset` has put into that library's cache (HF_HOME, HF_DATASETS_CACHE).
"""

import io
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from fedprompt.data.dataset import DataSet, hash_of_lines
from fedprompt.data.datasets.listing import DRAWN_FIFTH, Row, dataset, drawn_split
from fedprompt.data.errors import DataError, unknown
from fedprompt.data.images.decoding import FORMATS, ImageStore
from fedprompt.data.registry import Source, register

if TYPE_CHECKING:
    from PIL import Image

OPTIONS = ("image", "label", "domain", "client", "train", "test")
LABELS = ("label", "labels", "target", "class")  # names of a label column, most usual first
ERRORS = (OSError, ValueError, LookupError, TypeError)  # of the library's readers, beside its own
TESTS = ("test", "validation", "valid", "val", "dev")  # names of a test split, preferred first
SAVED = ("dataset_dict.json", "state.json")  # written by `save_to_disk`


class Columns(NamedTuple):
    """The columns that are read; an empty name means that there is none."""

    image: str
    label: str
    domain: str = ""
    client: str = ""


@register("hf:REPO")
class HuggingFace(Source):
    """A repository of the Hub in the library's cache, a folder of `save_to_disk`, or a folder of parquet files."""

    description = (
        "Hugging Face data sets, or local folders: hf:REPO[:CONFIG], then :image=COLUMN, :label=, :domain=, :client=, "
        ":train=SPLIT, :test= where these are not found"
    )
    terms = "see the data set's page"

    def __init__(self, name: str, root: Path | None) -> None:
        super().__init__(name, root)
        words, self.options = self.words(OPTIONS)
        if len(words) not in (1, 2) or not all(words):
            raise DataError(f"{name}: need hf:REPO, hf:REPO:CONFIG or hf:FOLDER, then options such as :label=COLUMN")
        self.repository, self.config = words[0], words[1] if len(words) == 2 else None
        folder = (self.root or Path()) / Path(self.repository).expanduser()
        self.folder = folder if folder.is_dir() else None

    def download(self) -> None:
        """Downloads the data set into the library's cache. Raises DataError if that fails."""
        if self.folder is not None:
            return super().download()
        library = _library(self.name)
        try:
            library.load_dataset(self.repository, self.config)
        except (*ERRORS, library.exceptions.DatasetsError) as error:
            raise DataError(
                f"{self.name}: it cannot be downloaded: {_line(error)}\n"
                f"check the name; if it is gated or private, accept its terms on "
                f"https://huggingface.co/datasets/{self.repository} and run `hf auth login`"
            ) from error

    def load(self) -> DataSet:
        """Returns the images, decoded on demand, with the columns and splits of the options.

        Without the options, the image column is the only one with images, the label column the only one with class
        labels or the one with a usual name, and the test data is the split `test` if it has labels, else the validation
        split, else a drawn fifth of the training split. Classes without an image are left out. The identity is a hash
        of the labels, domains and clients and of the encoded size of every image.

        Raises:
            DataError: The package or the data set is missing, or a column or split is missing or unsuitable.
        """
        _library(self.name)
        return _read(self.name, self.root, _stamp(self.folder))

    def read(self) -> DataSet:
        """Reads the data set, see `load`."""
        splits = self._splits()
        train = self._train_split(splits)
        columns = self._columns(splits[train].features)
        test = self._test_split(splits, train, columns.label)
        used = {name: self._with_images(splits[name], columns.image) for name in (train, test) if name}
        rows = {name: self._rows(name, split, columns, is_test=name == test) for name, split in used.items()}
        sizes = {name: _sizes(split, columns.image) for name, split in used.items()}
        if absent := sum(size is None for part in sizes.values() for size in part):
            raise DataError(f"{self.name}: {absent} rows of the column {columns.image} contain no image; remove them")
        pairs = ((row, size) for name, part in rows.items() for row, size in zip(part, sizes[name], strict=True))
        train_rows, test_rows = (rows[train], rows[test]) if test else drawn_split(rows[train])
        unused = sorted(set(splits) - set(used))
        store = Store(used, columns.image)
        return dataset(
            self.name,
            store.files[0].parent if store.files else Path(self.repository),
            train_rows,
            test_rows,
            _classes([split.features[columns.label] for split in used.values()], rows.values()),
            hash_of_lines("\t".join([*row, str(size)]) for row, size in pairs),
            notes=(f"splits that are not used: {', '.join(unused)}",) if unused else (),
            split_rule=f"the split {train}; the split {test} is the test data" if test else DRAWN_FIFTH,
            store=store,
        )

    def _splits(self) -> dict[str, Any]:
        """Returns the splits by name."""
        library = _library(self.name)
        try:
            if self.folder is None:
                from datasets.packaged_modules.cache.cache import Cache

                kind = self.repository.rpartition("/")[2]
                found = Cache(None, kind, self.config, "auto", "auto", repo_id=self.repository).as_dataset()
            elif any((self.folder / file).is_file() for file in SAVED):
                found = library.load_from_disk(str(self.folder))
            else:
                found = library.load_dataset(str(self.folder), self.config)
        except (*ERRORS, library.exceptions.DatasetsError) as error:
            place = "the cache of the datasets library" if self.folder is None else str(self.folder)
            remedy = "need a folder written by save_to_disk, or one of parquet files"
            if self.folder is None:
                remedy = f"run `bench data prepare {self.name}`, or write hf:REPO:CONFIG or hf:FOLDER"
            raise DataError(f"{self.name}: cannot be read from {place}: {_line(error)}\n{remedy}") from error
        return dict(found) if isinstance(found, dict) else {"train": found}

    def _train_split(self, splits: Mapping[str, Any]) -> str:
        for option in ("train", "test"):
            if option in self.options and self.options[option] not in splits:
                raise unknown(f"split of {self.name}:", self.options[option], splits)
        name = self.options.get("train") or ("train" if "train" in splits or len(splits) != 1 else next(iter(splits)))
        if name not in splits:
            raise DataError(f"{self.name}: none of its splits is named train: {', '.join(splits)}; add :train=SPLIT")
        if name == self.options.get("test"):
            raise DataError(f"{self.name}: the split {name} cannot be both training and test data; change test=")
        return name

    def _test_split(self, splits: Mapping[str, Any], train: str, label: str) -> str:
        """Returns the name of the test split; an empty name if there is none with labels."""
        if "test" in self.options:
            return self.options["test"]
        labelled = {name for name, split in splits.items() if label in split.features and not _unlabelled(split, label)}
        return next((name for name in TESTS if name in labelled - {train}), "")

    def _columns(self, features: Mapping[str, Any]) -> Columns:
        for option in ("image", "label", "domain", "client"):
            if option in self.options and self.options[option] not in features:
                raise unknown(f"column of {self.name}:", self.options[option], features)
        others = {self.options.get("domain"), self.options.get("client")}
        image = self.options.get("image") or self._only(
            "image", [name for name in features if _is_image(features[name])], features
        )
        labelled = [name for name, f in features.items() if hasattr(f, "names") and name not in others]
        usual = [name for name in LABELS if name in features and name not in others]
        label = self.options.get("label") or self._only(
            "label", labelled if len(labelled) == 1 else usual[:1] or labelled, features
        )
        return Columns(image, label, self.options.get("domain", ""), self.options.get("client", ""))

    def _only(self, what: str, found: Sequence[str], features: Mapping[str, Any]) -> str:
        if len(found) == 1:
            return found[0]
        fault = (
            f"several {what} columns: {', '.join(found)}" if found else f"no {what} column among {', '.join(features)}"
        )
        raise DataError(f"{self.name}: {fault}; name one: {self.name}:{what}=COLUMN")

    def _with_images(self, split: Any, column: str) -> Any:
        """Returns a split whose image column gives the encoded images."""
        if column not in split.features:
            raise DataError(f"{self.name}: the split {split.split} has no column {column}; choose another: test=SPLIT")
        try:
            return split.cast_column(column, _library(self.name).Image(decode=False))
        except (ValueError, TypeError, NotImplementedError) as error:
            kind = getattr(split.features[column], "dtype", type(split.features[column]).__name__)
            raise DataError(
                f"{self.name}: the column {column} contains {kind}, not images; choose another: image="
            ) from error

    def _rows(self, name: str, split: Any, columns: Columns, is_test: bool) -> list[Row]:
        """Returns a row per image; test images need no client."""
        client = "" if is_test and columns.client not in split.features else columns.client
        values = [
            self._names(name, split, column) if column else [""] * len(split)
            for column in (columns.label, columns.domain, client)
        ]
        return [Row(f"{name}/{i:08}", *row) for i, row in enumerate(zip(*values, strict=True))]

    def _names(self, name: str, split: Any, column: str) -> list[str]:
        """Returns the values of a column of class labels, whole numbers or text as names."""
        if column not in split.features:
            raise DataError(f"{self.name}: the split {name} has no column {column}; it has {', '.join(split.features)}")
        feature, values = split.features[column], _values(split, column)
        kind = str(getattr(feature, "dtype", type(feature).__name__))
        if not kind.startswith(("int", "uint", "bool", "string", "large_string")):
            raise DataError(
                f"{self.name}: the column {column} contains {kind}; need class labels, whole numbers or text"
            )
        if empty := _unlabelled(split, column):
            raise DataError(
                f"{self.name}: {empty} rows of the split {name} have no {column}; choose another split or column"
            )
        names = getattr(feature, "names", None)
        return [names[value] if names else str(value) for value in values]


class Store(ImageStore):
    """The encoded images of the rows of Arrow tables, which stay on disk."""

    def __init__(self, splits: Mapping[str, Any], column: str) -> None:
        self.column = column
        self.files = [Path(file["filename"]) for split in splits.values() for file in split.cache_files]
        self._splits = {name: split.select_columns([column]) for name, split in splits.items()}

    def open(self, part: str, row: int) -> "Image.Image":
        """Returns one image."""
        from PIL import Image

        value = self._splits[part][row][self.column]
        source = value["path"] if value["bytes"] is None else io.BytesIO(value["bytes"])
        return Image.open(source, formats=FORMATS)


def _library(name: str) -> ModuleType:
    try:
        import datasets
        import datasets.load  # absent where the name only stands for a folder `datasets` in the working directory
    except ImportError as error:
        raise DataError(f'{name} needs the datasets package: pip install "fedprompt-bench[hf]"') from error
    datasets.logging.set_verbosity_error()  # it would report in every process which cached copy is used
    return datasets


@lru_cache(maxsize=4)
def _read(name: str, root: Path | None, stamp: str) -> DataSet:
    # The stamp is part of the key so that changed files are read again.
    return HuggingFace(name, root).read()


def _stamp(folder: Path | None) -> str:
    """Changes with the place, size or time of any file of a folder, or with the place of the library's cache."""
    import datasets

    if folder is None:
        return str(datasets.config.HF_DATASETS_CACHE)
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return hash_of_lines(f"{path.absolute()}\t{path.stat().st_size}\t{path.stat().st_mtime_ns}" for path in files)


def _is_image(feature: Any) -> bool:
    return type(feature).__name__ == "Image" or (isinstance(feature, dict) and set(feature) == {"bytes", "path"})


def _sizes(split: Any, column: str) -> list[int | None]:
    """Returns the encoded size of every image in bytes; None for a row without image. Reads no embedded image."""
    import pyarrow.compute as pc

    values = split.data.column(column)
    lengths, paths = (pc.struct_field(values, [name]) for name in ("bytes", "path"))
    pairs = zip(pc.binary_length(lengths).to_pylist(), paths.to_pylist(), strict=True)
    return [_file_size(path) if length is None else length for length, path in pairs]


def _file_size(path: str | None) -> int | None:
    return Path(path).stat().st_size if path and Path(path).is_file() else None


def _values(split: Any, column: str) -> list[Any]:
    values: list[Any] = split.data.column(column).to_pylist()
    return values


def _unlabelled(split: Any, column: str) -> int:
    """Returns how many rows lack a value; the Hub marks missing labels by -1."""
    return sum(value is None or value in ("", -1) for value in _values(split, column))


def _classes(features: Sequence[Any], rows: Any) -> list[str]:
    """Returns the names of the classes that have images: in the order of class labels or of numbers, else sorted."""
    used = {row.label for part in rows for row in part}
    order = [name for feature in features for name in getattr(feature, "names", None) or ()]
    rest = sorted(used - set(order), key=lambda name: (int(name), name) if name.lstrip("-").isdecimal() else (0, name))
    return [name for name in dict.fromkeys([*order, *rest]) if name in used]


def _line(error: BaseException) -> str:
    """Returns the first line of a message, and the second if it lists what is available."""
    first, second = [*str(error).splitlines(), "", ""][:2]
    text = f"{first}; {second}" if second.startswith("Available") else first
    return text.strip().rstrip(".") or type(error).__name__
