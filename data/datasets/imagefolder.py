"""`imagefolder:PATH`: your own images in folders, optionally with domains and natural clients."""

from collections.abc import Iterator
from pathlib import Path

from fedprompt.data.dataset import DataSet
from fedprompt.data.datasets.listing import (
    EVERY_FIFTH,
    Row,
    dataset,
    files_in,
    folders_in,
    hash_of_files,
    read_csv,
    relative_path,
    split,
)
from fedprompt.data.errors import DataError, reason
from fedprompt.data.registry import Source, register

CLIENTS = "clients.csv"
PARTS = ("train", "test")


@register("imagefolder:PATH")
class ImageFolder(Source):
    """Images `PATH/[DOMAIN/]CLASS/*`, optionally in `PATH/train` and `PATH/test`, and `PATH/clients.csv`."""

    description = "your own images: PATH/[DOMAIN/]CLASS/*.jpg, with PATH/clients.csv (path,client) for natural clients"

    def load(self) -> DataSet:
        """Returns the images as files; folder names are the classes and domains.

        Without `train` and `test` folders, every fifth image per domain and class, in order of path, is a test image.
        The identity is a hash of the paths, sizes and clients of all images.

        Raises:
            DataError: The folders have another structure or cannot be read, or the CSV file does not fit the images.
        """
        try:
            return self._load(self.argument_path)
        except OSError as error:
            raise DataError(f"{self.name}: {error.filename} cannot be read: {reason(error)}") from error

    def _load(self, folder: Path) -> DataSet:
        if not folder.is_dir():
            raise DataError(f"{self.name}: folder not found: {folder}; it needs a subfolder per class")
        is_split = set(folders_in(folder)) == set(PARTS)
        rows = [row for top in ([f"{part}/" for part in PARTS] if is_split else [""]) for row in self._images(top)]
        if not rows:
            raise DataError(
                f"{self.name}: {folder} contains no images; need PATH/CLASS/*.jpg or PATH/DOMAIN/CLASS/*.jpg"
            )
        if (folder / CLIENTS).is_file():
            rows = self._with_clients(rows, folder / CLIENTS, is_split)
        train, test, rule = *split(rows), EVERY_FIFTH
        if is_split:
            train, test = ([row for row in rows if row.path.startswith(f"{part}/")] for part in PARTS)
            rule = "the folders train and test"
        classes = sorted({row.label for row in rows})
        return dataset(self.name, folder, train, test, classes, hash_of_files(folder, rows), split_rule=rule)

    def _images(self, top: str) -> Iterator[Row]:
        """Yields the images in the folder `top`, either all of CLASS folders or all of DOMAIN/CLASS folders."""
        for outer in folders_in(self.argument_path / top):
            path = self.argument_path / top / outer
            images, inner_folders = files_in(path), folders_in(path)
            if images and any(files_in(path / inner) for inner in inner_folders):
                raise DataError(
                    f"{self.name}: {path} contains both images and folders of images; need one or the other"
                )
            for name in images:
                yield Row(f"{top}{outer}/{name}", outer)
            for inner in inner_folders:
                for name in files_in(path / inner):
                    yield Row(f"{top}{outer}/{inner}/{name}", inner, outer)

    def _with_clients(self, rows: list[Row], path: Path, is_split: bool) -> list[Row]:
        """Returns the rows with their clients of the CSV file; images in a `test` folder need none."""
        client_of: dict[str, str] = {}
        for file, client in read_csv(path, ("path", "client")):
            known = client_of.setdefault(relative_path(file, str(path)), client)
            if known != client:
                raise DataError(f"{path}: {file} has two clients, {known} and {client}")
        paths = {row.path for row in rows}
        if absent := [image for image in client_of if image not in paths]:
            raise DataError(f"{self.name}: {CLIENTS} lists {len(absent)} images that do not exist: {absent[0]}")
        for row in rows:
            if row.path not in client_of and not (is_split and row.path.startswith("test/")):
                raise DataError(f"{self.name}: {CLIENTS} has no client for {row.path}; each training image needs one")
        return [row._replace(client=client_of.get(row.path, "")) for row in rows]
