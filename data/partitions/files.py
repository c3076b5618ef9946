"""Partition files: a federation as this program saves it, and the bare index lists that papers publish."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from fedprompt.data.dataset import Array
from fedprompt.data.errors import DataError
from fedprompt.data.partitions.settings import PartitionSettings

FORMAT, VERSION = "federation", 1
Position = Annotated[int, Field(ge=0, lt=2**63)]
Lists = Annotated[list[list[Position]], Field(min_length=2)]
_lists = TypeAdapter(Lists, config=ConfigDict(strict=True))


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class SavedClient(_Strict):
    """A client's positions in the arrays of the data set."""

    train: list[Position]
    validation: list[Position]
    test: list[Position]
    held_out: bool
    domain: str | None


class Saved(_Strict):
    """The content of a federation file."""

    format: Literal["federation"]
    version: Literal[1]
    made_with: dict[str, str]
    dataset: str
    identity: str
    settings: PartitionSettings
    drift: float
    test_part: Literal["train", "test"]
    dropped: int
    hash: str
    clients: Annotated[list[SavedClient], Field(min_length=2)]


@dataclass(frozen=True, eq=False)
class IndexLists:
    """Positions int64 of each client's samples; `test` is None where the file names none."""

    train: list[Array]
    test: list[Array] | None


def read(path: Path) -> Saved | IndexLists:
    """What a partition file holds: a JSON federation, or lists of positions, one for each client.

    Lists come as `[[...], ...]`, as `{"0": [...], ...}`, or as `{"train": LISTS, "test": LISTS}` where either form may
    stand for LISTS. Raises DataError for anything else.
    """
    text = _text(path)
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON, as a partition file is: {error}") from error
    if isinstance(document, dict) and "format" in document:
        return parse(path, text)
    if isinstance(document, dict) and document.keys() & {"train", "test"}:
        if extra := sorted(document.keys() - {"train", "test"}):
            raise DataError(f"{path} has {extra[0]!r} beside its index lists; need 'train', and 'test' where known")
        train, test = document.get("train"), document.get("test")
    else:
        train, test = document, None
    lists = IndexLists(_positions(path, train, "train"), None if test is None else _positions(path, test, "test"))
    if lists.test is not None and len(lists.test) != len(lists.train):
        raise DataError(f"{path} has training samples for {len(lists.train)} clients but tests for {len(lists.test)}")
    return lists


def parse(path: Path, text: str | None = None) -> Saved:
    """The federation file at `path`. Raises DataError where it is none or of another version."""
    try:
        return Saved.model_validate_json(_text(path) if text is None else text)
    except ValidationError as error:
        first = error.errors()[0]
        if first["loc"] == ("version",):
            raise DataError(f"{path} has format version {first['input']}; this program reads {VERSION}") from error
        where = ".".join(map(str, first["loc"])) or "the file"
        raise DataError(f"{path} is not a federation file: {where}: {first['msg']}") from error


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError(f"there is no partition file {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not a readable partition file: {error}") from error


def _positions(path: Path, lists: object, part: str) -> list[Array]:
    if isinstance(lists, dict):  # client 10 comes after client 9
        numbered = all(str(name).isdecimal() for name in lists)
        lists = [lists[name] for name in (sorted(lists, key=int) if numbered else lists)]
    try:
        return [np.array(own, np.int64) for own in _lists.validate_python(lists)]
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        place = f"{part} list {where}".rstrip()
        raise DataError(f"{path} is no partition file: {place}: {first['msg']}; need positions from 0") from error
