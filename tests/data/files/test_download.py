import hashlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from fedprompt.data.errors import DataError
from fedprompt.data.files.download import fetch, file_md5

CONTENT = np.random.default_rng(0).bytes(3_000_000)
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Sends CONTENT; remembers what ranges were asked for; may know no ranges, or break off."""

    knows_ranges = True
    breaks_off = False

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/pets.zip"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        self.server.asked.append(self.headers["Range"])
        start = int(self.headers["Range"][6:-1]) if self.headers["Range"] and self.server.knows_ranges else 0
        if self.path != "/pets.zip":
            self.send_error(404)
        elif start >= len(CONTENT):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            self.end_headers()
        else:
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(CONTENT) - start))
            self.end_headers()
            self.wfile.write(CONTENT[start : 1_000_000 if self.server.breaks_off else None])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_a_download_leaves_only_the_complete_file(tmp_path, server):
    fetch(server.url, tmp_path / "new" / "pets.zip", MD5)
    assert (tmp_path / "new" / "pets.zip").read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["pets.zip"]
    assert file_md5(tmp_path / "new" / "pets.zip") == MD5


def test_an_interrupted_download_resumes(tmp_path, server):
    server.breaks_off = True
    with pytest.raises(DataError, match=r"after 1,000,000 of 3,000,000 bytes\nrun the same command again to resume"):
        fetch(server.url, tmp_path / "pets.zip", MD5)
    assert not (tmp_path / "pets.zip").exists()
    server.breaks_off = False
    fetch(server.url, tmp_path / "pets.zip", MD5)
    assert server.asked == [None, "bytes=1000000-"]
    assert (tmp_path / "pets.zip").read_bytes() == CONTENT


def test_without_range_support_the_download_restarts(tmp_path, server):
    server.knows_ranges = False
    (tmp_path / "pets.zip.part").write_bytes(b"something else")
    fetch(server.url, tmp_path / "pets.zip", MD5)
    assert (tmp_path / "pets.zip").read_bytes() == CONTENT


def test_a_complete_partial_file_is_used(tmp_path, server):
    (tmp_path / "pets.zip.part").write_bytes(CONTENT)
    fetch(server.url, tmp_path / "pets.zip", MD5)
    assert (tmp_path / "pets.zip").read_bytes() == CONTENT


def test_a_wrong_checksum_is_refused_and_the_file_removed(tmp_path, server):
    with pytest.raises(DataError, match="does not have the md5 0123"):
        fetch(server.url, tmp_path / "pets.zip", "0123")
    assert list(tmp_path.iterdir()) == []


def test_an_address_that_is_not_found_is_named(tmp_path, server):
    with pytest.raises(DataError, match=r"cannot download .*/none: Not Found"):
        fetch(server.url.replace("pets.zip", "none"), tmp_path / "pets.zip")


def test_without_a_network_the_error_names_the_file_to_save(tmp_path):
    url, path = "http://127.0.0.1:9/pets.zip", tmp_path / "pets.zip"  # no server at this port
    message = f"cannot download {re.escape(url)}: .*\\n.*or save the file as {re.escape(str(path))}"
    with pytest.raises(DataError, match=message):
        fetch(url, path)
