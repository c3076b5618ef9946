"""Images that lie on disk as files, and the one rule by which they become arrays."""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fedprompt.data.errors import DataError

Array = npt.NDArray[Any]
Rule = Literal["stretch", "crop"]


class ImageFiles:
    """Images [N] of one data set, decoded only when asked for: `files[i]` is uint8 [H, W, 3] at its native size.

    `paths` are relative to `root`. A slice is a view: `files.whole` is the album with all images of the data set, which
    the decode cache keeps in one file; `name` and `key` (its identity) say which data set that is.
    """

    def __init__(self, root: Path, paths: Sequence[str], name: str, key: str) -> None:
        self.root, self.name, self.key = root, name, key
        self.whole: ImageFiles = self
        self.rows = range(len(paths))
        self._paths = paths

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int | np.integer[Any]) -> Array:
        return decode(self.path(index))

    def view(self, start: int, stop: int) -> "ImageFiles":
        """The images `start` to `stop` - 1 as a view on the same album."""
        part = ImageFiles(self.root, self._paths, self.name, self.key)
        part.whole, part.rows = self.whole, self.rows[start:stop]
        return part

    @property
    def paths(self) -> list[str]:
        """The paths below `root`, in order."""
        return list(self._paths[self.rows.start : self.rows.stop])

    def path(self, index: int | np.integer[Any]) -> Path:
        """The file of one image."""
        return self.root / self._paths[self.rows[int(index)]]


def album(root: Path, train: Sequence[str], test: Sequence[str], name: str, key: str) -> tuple[ImageFiles, ImageFiles]:
    """Training and test images below `root` as two views on one album."""
    files = ImageFiles(root, [*train, *test], name, key)
    return files.view(0, len(train)), files.view(len(train), len(files))


def decode(path: Path, size: int | None = None, rule: Rule = "stretch") -> Array:
    """One image as uint8 [H, W, 3], or [size, size, 3] by `rule`, always bicubic with antialiasing.

    `stretch`, the rule for arrays too, resizes both sides at once. `crop` resizes the shorter side to `size` and keeps
    the centre. Grey and palette images become RGB, transparency is dropped and an EXIF orientation ignored, as
    torchvision does. Raises DataError, naming the file, where it is no readable 8-bit image.
    """
    from PIL import Image

    unreadable = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)
    try:
        with Image.open(path) as file:
            if file.mode in ("I", "F") or file.mode.startswith("I;"):
                raise DataError(f"{path} is no 8-bit image (mode {file.mode})")
            see_through = file.mode == "P" and "transparency" in file.info
            image = (file.convert("RGBA") if see_through else file).convert("RGB")
    except DataError:
        raise
    except unreadable as error:
        raise DataError(f"{path} is no readable image: {_reason(error)}") from error
    if size is not None and image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BICUBIC, box=_box(image.size, rule))
    return np.asarray(image)


def _box(sides: tuple[int, int], rule: Rule) -> tuple[float, float, float, float]:
    """The part of an image that is kept: left, upper, right, lower."""
    width, height = sides
    if rule == "stretch":
        return (0, 0, width, height)
    side = min(sides)
    left, upper = (width - side) / 2, (height - side) / 2
    return (left, upper, left + side, upper + side)


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    return "unknown format" if "cannot identify" in str(error) else str(error) or type(error).__name__
