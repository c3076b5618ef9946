"""Lines of records.jsonl.xz, read and written with lzma and json only."""

import json
import lzma

FILE = "records.jsonl.xz"


def lines(folder):
    """The content of the file of an exported folder."""
    return [json.loads(line) for line in lzma.decompress((folder / FILE).read_bytes()).splitlines()]


def put(folder, content):
    """Replaces the file by these lines."""
    text = "".join(json.dumps(line) + "\n" for line in content)
    (folder / FILE).write_bytes(lzma.compress(text.encode()))
