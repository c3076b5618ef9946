"""Downloads that go on where they stopped and are held to their checksum."""

import hashlib
import os
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path

from fedprompt.data.errors import DataError
from fedprompt.data.files.progress import bar

BLOCK = 1 << 20
TIMEOUT = 30  # seconds without a byte
RANGE_DONE, PARTIAL = 416, 206


def fetch(url: str, path: Path, md5: str = "") -> None:
    """Downloads `url` to `path`, which is there whole or not at all; `path`.part is what an earlier try left.

    Raises DataError, naming what to do, where there is no network, too little comes, or the checksum differs.
    """
    part = path.with_name(f"{path.name}.part")
    remedy = f"the same command goes on; or get it elsewhere, put it at {path} and repeat"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _append(url, part)
    except (urllib.error.URLError, HTTPException, OSError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise DataError(f"cannot download {url}: {reason}\n{remedy}") from error
    if md5 and md5_of(part) != md5:
        part.unlink()
        raise DataError(f"{url} does not have the md5 {md5}: what came was removed\ntry again, or put it at {path}")
    os.replace(part, path)


def _append(url: str, part: Path) -> None:
    """Brings `part` to its full length."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        with error:
            if have and error.code == RANGE_DONE and error.headers.get("Content-Range") == f"bytes */{have}":
                return
        raise
    with response:
        have = have if response.status == PARTIAL else 0  # a server that knows no ranges sends all again
        total = have + int(response.headers.get("Content-Length") or 0)
        with part.open("ab" if have else "wb") as file, bar(f"downloading {part.stem}", total, True) as show:
            while block := response.read(BLOCK):
                file.write(block)
                show(file.tell())
            got = file.tell()
    if got < total:
        raise OSError(f"the connection ended after {got:,} of {total:,} bytes")


def md5_of(path: Path) -> str:
    """The md5 of a file, in hexadecimal. Raises DataError where it cannot be read."""
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with path.open("rb") as file, bar(f"checking {path.name}", path.stat().st_size, True) as show:
            while block := file.read(BLOCK):
                digest.update(block)
                show(file.tell())
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    return digest.hexdigest()
