"""`imagefolder:PATH`: a user's own images in folders, with domains and clients where there are any."""

from collections.abc import Iterator
from pathlib import Path

from fedprompt.data.dataset import DataSet
from fedprompt.data.datasets.listing import Row, dataset, files_in, folders_in, hash_of_files, inside, split, table
from fedprompt.data.errors import DataError
from fedprompt.data.registry import Source, register

CLIENTS = "clients.csv"
PARTS = ("train", "test")


@register("imagefolder:PATH")
class ImageFolder(Source):
    """`PATH/[DOMAIN/]CLASS/*`, or the same below `PATH/train` and `PATH/test`; `PATH/clients.csv` has path,client."""

    description = "your own images: PATH/[DOMAIN/]CLASS/*.jpg, with PATH/clients.csv (path,client) for natural clients"

    @property
    def folder(self) -> Path:
        """The folder asked for; a relative one lies under the data root where there is one."""
        return (self.root or Path()) / Path(self.argument).expanduser()

    def identity(self) -> str:
        """A hash of the paths and sizes of all images and of the clients."""
        return self.load().identity

    def load(self) -> DataSet:
        """The images as files; classes and domains are the names of the folders.

        Without `train` and `test` folders every fifth image of a domain and class, in order of path, is a test image.
        Raises DataError where the folders have another form, or the CSV does not fit the images.
        """
        if not self.folder.is_dir():
            raise DataError(f"{self.name}: there is no folder {self.folder}; need one with a folder for each class")
        rows = list(self._rows())
        if not rows:
            raise DataError(
                f"{self.name}: {self.folder} holds no image; need PATH/CLASS/*.jpg or PATH/DOMAIN/CLASS/*.jpg"
            )
        train, test = split(rows)
        if self._parted:
            train, test = ([row for row in rows if row.path.startswith(f"{part}/")] for part in PARTS)
        classes = sorted({row.label for row in rows})
        return dataset(self.name, self.folder, train, test, classes, identity=hash_of_files(self.folder, rows))

    @property
    def _parted(self) -> bool:
        return set(folders_in(self.folder)) == set(PARTS)

    def _rows(self) -> Iterator[Row]:
        """All images, with the client of each where there is a CSV file."""
        tops = [f"{part}/" for part in PARTS] if self._parted else [""]
        found = [row for top in tops for row in self._below(top)]
        if not (self.folder / CLIENTS).is_file():
            yield from found
            return
        client_of = self._clients()
        paths = {row.path for row in found}
        if absent := [path for path in client_of if path not in paths]:
            raise DataError(f"{self.name}: {CLIENTS} names {len(absent)} images that are not there: {absent[0]}")
        for row in found:
            tested = row.path.startswith("test/") and self._parted
            if row.path not in client_of and not tested:
                raise DataError(f"{self.name}: {CLIENTS} names no client for {row.path}; each training image needs one")
            yield row._replace(client=client_of.get(row.path, ""))

    def _below(self, top: str) -> Iterator[Row]:
        """The images below `top`, of which either all lie in CLASS or all in DOMAIN/CLASS."""
        for first in folders_in(self.folder / top):
            place = self.folder / top / first
            images, inner = files_in(place), folders_in(place)
            if images and any(files_in(place / label) for label in inner):
                raise DataError(f"{self.name}: {place} holds both images and folders of images; need one or the other")
            for name in images:
                yield Row(f"{top}{first}/{name}", first)
            for label in inner:
                for name in files_in(place / label):
                    yield Row(f"{top}{first}/{label}/{name}", label, first)

    def _clients(self) -> dict[str, str]:
        path = self.folder / CLIENTS
        pairs = table(path, ("path", "client"))
        client_of: dict[str, str] = {}
        for file, client in pairs:
            if client_of.setdefault(inside(file, str(path)), client) != client:
                raise DataError(f"{path}: {file} has two clients, {client_of[inside(file, str(path))]} and {client}")
        return client_of
