"""Image files, and how they are decoded into arrays."""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from fedprompt.data.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

Array = npt.NDArray[Any]
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM")
"""The formats that are decoded, whatever a file is called. Pillow would pass others on to programs, as Ghostscript."""
ResizeRule = Literal["stretch", "crop"]


class ImageStore(ABC):
    """Images that are not files of their own, such as the rows of a table. Their paths are `ROOT/PART/ROW`.

    Attributes:
        files: The files that contain the images; their sizes and times tell whether an image has changed.
    """

    files: Sequence[Path] = ()

    @abstractmethod
    def open(self, part: str, row: int) -> Image.Image:
        """Returns one image; several threads may call this. Raises OSError or ValueError if it is unreadable."""


class ImageFiles:
    """The image files of a data set, or a range of them; `files[i]` decodes one to uint8 [H, W, 3] at its native size.

    Attributes:
        root: The folder that contains the images.
        name: Name of the data set.
        key: Identity of the data set.
        store: Contains the images, if they are not files of their own.
        whole: The files of the whole data set, which the decode cache stores together.
        rows: Positions of these files in `whole`.
    """

    def __init__(self, root: Path, paths: Sequence[str], name: str, key: str, store: ImageStore | None = None) -> None:
        self.root, self.name, self.key, self.store = root, name, key, store
        self.whole: ImageFiles = self
        self.rows = range(len(paths))
        self._paths = paths

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int | np.integer[Any]) -> Array:
        return decode(self.path(index), store=self.store)

    def view(self, start: int, stop: int) -> ImageFiles:
        """Returns the images `start` to `stop` - 1, without copying."""
        part = ImageFiles(self.root, self._paths, self.name, self.key, self.store)
        part.whole, part.rows = self.whole, self.rows[start:stop]
        return part

    @property
    def paths(self) -> list[str]:
        """The paths relative to `root`, in order."""
        return list(self._paths[self.rows.start : self.rows.stop])

    def path(self, index: int | np.integer[Any]) -> Path:
        """Returns the file of one image."""
        return self.root / self._paths[self.rows[int(index)]]


def train_test_files(
    root: Path, train: Sequence[str], test: Sequence[str], name: str, key: str, store: ImageStore | None = None
) -> tuple[ImageFiles, ImageFiles]:
    """Returns training and test images as two views of one `ImageFiles`; the paths are relative to `root`."""
    files = ImageFiles(root, [*train, *test], name, key, store)
    return files.view(0, len(train)), files.view(len(train), len(files))


def decode(path: Path, size: int | None = None, rule: ResizeRule = "stretch", store: ImageStore | None = None) -> Array:
    """Decodes an image to RGB.

    Grey and palette images are converted, transparency is dropped and the EXIF orientation ignored, as in torchvision.

    Args:
        path: The file.
        size: Height and width of the result; None keeps the native size. Resizing is bicubic with antialiasing.
        rule: "stretch" scales both sides to `size`. "crop" scales the shorter side to `size` and keeps the centre.
        store: Contains the image, if it is not a file of its own.

    Returns:
        uint8 [H, W, 3].

    Raises:
        DataError: The file is not a readable 8-bit image.
    """
    from PIL import Image

    unreadable = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)
    try:
        with store.open(path.parent.name, int(path.name)) if store else Image.open(path, formats=FORMATS) as file:
            if file.mode in ("I", "F") or file.mode.startswith("I;"):
                raise DataError(f"{path} is not an 8-bit image (mode {file.mode})")
            has_transparent_colour = file.mode == "P" and "transparency" in file.info
            image = (file.convert("RGBA") if has_transparent_colour else file).convert("RGB")
    except DataError:
        raise
    except unreadable as error:
        raise DataError(f"{path} is not a readable image: {_cause(error)}") from error
    if size is not None and image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BICUBIC, box=_source_box(image.size, rule))
    return np.asarray(image)


def _source_box(sides: tuple[int, int], rule: ResizeRule) -> tuple[float, float, float, float]:
    """The part of an image that is resized: left, upper, right, lower."""
    width, height = sides
    if rule == "stretch":
        return (0, 0, width, height)
    side = min(sides)
    left, upper = (width - side) / 2, (height - side) / 2
    return (left, upper, left + side, upper + side)


def _cause(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "file not found"
    if "cannot identify" in str(error):
        return f"unknown format; need {', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
    return str(error) or type(error).__name__
