"""Partition files: saved federations, and index lists as papers publish them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from fedprompt.data.dataset import Array
from fedprompt.data.errors import DataError, reason
from fedprompt.data.files import json_files
from fedprompt.data.files.limits import MAX_JSON_BYTES, read_bounded
from fedprompt.data.partitions.settings import PartitionSettings

FORMAT, VERSION = "federation", 1
Position = Annotated[int, Field(ge=0, lt=2**63)]
_lists = TypeAdapter(Annotated[list[list[Position]], Field(min_length=2)], config=ConfigDict(strict=True))


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class SavedClient(_Strict):
    """The positions of a client's samples in the arrays of the data set."""

    train: list[Position]
    validation: list[Position]
    test: list[Position]
    held_out: bool
    domain: str | None


class SavedFederation(_Strict):
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
    """Positions int64 of the samples of each client; `test` is None if the file does not assign the test samples."""

    train: list[Array]
    test: list[Array] | None


def read(path: Path) -> SavedFederation | IndexLists:
    """Reads a partition file.

    Index lists, one list of positions per client, have the form `[[...], ...]`, `{"0": [...], ...}`, or
    `{"train": LISTS, "test": LISTS}` with either form as LISTS.

    Raises:
        DataError: The file is neither a federation nor index lists.
    """
    text = _text(path)
    try:
        document = json_files.parse(text)
    except ValueError as error:
        raise DataError(f"{path} is not a partition file: it is not JSON: {error}") from error
    if isinstance(document, dict) and "format" in document:
        return _federation(path, text)
    if isinstance(document, dict) and document.keys() & {"train", "test"}:
        if extra := sorted(document.keys() - {"train", "test"}):
            raise DataError(f"{path} has the unknown key {extra[0]!r}; need 'train' and optionally 'test'")
        train, test = document.get("train"), document.get("test")
    else:
        train, test = document, None
    lists = IndexLists(_positions(path, train, "train"), None if test is None else _positions(path, test, "test"))
    if lists.test is not None and len(lists.test) != len(lists.train):
        raise DataError(f"{path} has {len(lists.train)} training lists but {len(lists.test)} test lists")
    return lists


def read_federation(path: Path) -> SavedFederation:
    """Reads a federation file. Raises DataError if it is not one or has another version."""
    return _federation(path, _text(path))


def _federation(path: Path, text: str) -> SavedFederation:
    try:
        return SavedFederation.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        if first["loc"] == ("version",):
            raise DataError(f"{path} has format version {first['input']}; this program reads {VERSION}") from error
        where = ".".join(map(str, first["loc"])) or "the file"
        raise DataError(f"{path} is not a federation file: {where}: {first['msg']}") from error


def _text(path: Path) -> str:
    try:
        return read_bounded(path, MAX_JSON_BYTES).decode()
    except FileNotFoundError:
        raise DataError(f"partition file not found: {path}") from None
    except OSError as error:
        raise DataError(f"{path} is not a readable partition file: {reason(error)}") from error
    except ValueError as error:
        raise DataError(f"{path} is not a readable partition file: {error}") from error


def _positions(path: Path, lists: object, part: str) -> list[Array]:
    if isinstance(lists, dict):
        are_numbers = all(str(name).isdecimal() for name in lists)
        lists = [lists[name] for name in (sorted(lists, key=int) if are_numbers else lists)]
    try:
        return [np.array(positions, np.int64) for positions in _lists.validate_python(lists)]
    except ValidationError as error:
        first = error.errors()[0]
        where = f"{part} list {'.'.join(map(str, first['loc']))}".rstrip()
        raise DataError(f"{path} is not a partition file: {where}: {first['msg']}; need positions from 0") from error
