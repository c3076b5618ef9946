"""Downloads that resume and verify their checksum."""

import hashlib
import os
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path

from fedprompt.data.errors import DataError, reason
from fedprompt.data.files.progress import progress_bar

BLOCK = 1 << 20
TIMEOUT = 30  # seconds without a byte
RANGE_NOT_SATISFIABLE, PARTIAL_CONTENT = 416, 206


def fetch(url: str, path: Path, md5: str = "") -> None:
    """Downloads `url` to `path`. An interrupted download continues from the file `path`.part.

    Raises:
        DataError: The download failed or is incomplete, or the checksum differs from `md5`.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _complete(url, part)
    except (urllib.error.URLError, HTTPException, OSError) as error:
        cause = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        remedy = f"run the same command again to resume, or save the file as {path} yourself"
        raise DataError(f"cannot download {url}: {cause}\n{remedy}") from error
    if md5 and file_md5(part) != md5:
        part.unlink()
        raise DataError(
            f"the file at {url} does not have the md5 {md5} and was deleted\ntry again, or save the file as {path}"
        )
    os.replace(part, path)


def _complete(url: str, part: Path) -> None:
    """Downloads the missing end of `part`."""
    present = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={present}-"} if present else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        with error:
            is_complete = error.headers.get("Content-Range") == f"bytes */{present}"
            if present and error.code == RANGE_NOT_SATISFIABLE and is_complete:
                return
        raise
    with response:
        present = present if response.status == PARTIAL_CONTENT else 0  # without range support, the whole file comes
        total = present + int(response.headers.get("Content-Length") or 0)
        mode = "ab" if present else "wb"
        with part.open(mode) as file, progress_bar(f"downloading {part.stem}", total, in_bytes=True) as show:
            while block := response.read(BLOCK):
                file.write(block)
                show(file.tell())
            received = file.tell()
    if received < total:
        raise OSError(f"the connection closed after {received:,} of {total:,} bytes")


def file_md5(path: Path) -> str:
    """Returns the md5 of a file in hexadecimal. Raises DataError if it cannot be read."""
    digest = hashlib.md5(usedforsecurity=False)
    try:
        size = path.stat().st_size
        with path.open("rb") as file, progress_bar(f"checking {path.name}", size, in_bytes=True) as show:
            while block := file.read(BLOCK):
                digest.update(block)
                show(file.tell())
    except OSError as error:
        raise DataError(f"cannot read {path}: {reason(error)}") from error
    return digest.hexdigest()
