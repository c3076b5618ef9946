"""Readers of what users and papers provide: presets, claims, partitions, arrays, archives, images and weights."""

import io
import struct
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from hypothesis import strategies as st
from PIL import Image

from fedprompt.benchmark.backbone import loading as backbones
from fedprompt.benchmark.backbone.embedded import IMAGE_SIZE, build
from fedprompt.benchmark.config.options import Options, options
from fedprompt.benchmark.config.preset_files import read_preset
from fedprompt.data import loading
from fedprompt.data.federation import Federation
from fedprompt.data.files.archive import unpack
from fedprompt.data.files.limits import MIN_UNPACKED_LIMIT
from fedprompt.data.images.decoding import decode
from fedprompt.data.partitions import partition_files
from fedprompt.methods.names import parse_value
from fedprompt.results.claims import verification
from tests import toy
from tests.fuzz.damage import TEXTS, changed, damaged, json_file, tolerant

PRESET = {"rounds": 3, "methods": ["head"], "alpha": [0.5], "set": ["fedvpt.tokens=2"]}
CLAIM = {
    "id": "a",
    "source": "b",
    "wording": "c",
    "settings": {"datasets": ["*"]},
    "check": {"kind": "beats", "method": "fedvpt", "metrics": ["seen.mean"], "baselines": ["head"]},
}
SHAPES = st.sampled_from(["(4, 8, 8, 3)", "(1000000000000, 8, 8, 3)", "(-1,)", "(True,)", "9" * 4000, "()"])
HEADERS = st.sampled_from(["(" * 3000, "-" * 9000 + "1", "[" * 9000, "{'descr': '|u1', \"\"\"", "{}", "\xff"])
DTYPES = st.sampled_from(["'|u1'", "'<i8'", "'|O'", "('|u1', (100000, 100000))", "'<U1000000000'", "[('a', '<i4')]"])
NAMES = st.sampled_from(
    ["a/b.jpg", "a", "../x", "/x", "", ".", "./", "a\\b", "a" * 300, "a\0b", "é/ü", "__MACOSX/x", "b/" * 400 + "c"]
)
PAX = st.dictionaries(
    st.sampled_from(
        [
            *("size", "mtime", "uid", "path", "GNU.sparse.map", "GNU.sparse.size", "GNU.sparse.realsize"),
            *("GNU.sparse.major", "GNU.sparse.minor", "GNU.sparse.name", "hdrcharset", "linkpath"),
        ]
    ),
    st.sampled_from(["0", "1", "0,1", "314572800", "x", "nan", "1e300", "-1", "", "../../x", "9" * 5000]),
    max_size=4,
)


def _yaml_file(data: st.DataObject, document: Any) -> bytes:
    text = yaml.safe_dump(data.draw(changed(document))).encode()
    return text if data.draw(st.booleans()) else data.draw(damaged(text))


def preset_is_read_or_rejected(data: st.DataObject) -> None:
    content = _yaml_file(data, PRESET)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "own.yaml"
        path.write_bytes(content)
        tolerant(lambda: read_preset(str(path), Options.model_fields))
        tolerant(lambda: options({}, str(path)))


def claims_are_read_or_rejected(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "claims.yaml"
        path.write_bytes(_yaml_file(data, [CLAIM]))
        tolerant(lambda: verification.read(path))


def value_of_a_field_is_read_or_rejected(data: st.DataObject) -> None:
    text = data.draw(st.text(max_size=30) | TEXTS.map(lambda content: content[:150].decode(errors="replace")))
    tolerant(lambda: parse_value(text, "--set"))


def partition_is_read_or_rejected(data: st.DataObject) -> None:
    content = json_file(data, {"train": [[0, 1], [2]], "test": {"0": [3], "1": [4]}})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "partition.json"
        path.write_bytes(content)
        tolerant(lambda: partition_files.read(path))


@cache
def _federation() -> dict[str, Any]:
    import json

    with tempfile.TemporaryDirectory() as folder:
        toy.federation().save(path := Path(folder) / "federation.json")
        return json.loads(path.read_text())  # type: ignore[no-any-return]


def federation_is_read_or_rejected(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "federation.json"
        path.write_bytes(json_file(data, _federation()))
        tolerant(lambda: Federation.load(path, toy.dataset()))


def _array_file(data: st.DataObject, array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    if data.draw(st.integers(0, 3)):
        return buffer.getvalue()
    claimed = f"{{'descr': {data.draw(DTYPES)}, 'fortran_order': False, 'shape': {data.draw(SHAPES)}, }}"
    header = (claimed if data.draw(st.booleans()) else data.draw(HEADERS)).encode("latin1") + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + array.tobytes()


def arrays_are_read_or_rejected(data: st.DataObject) -> None:
    labels = np.array([0, data.draw(st.sampled_from([1, -1, 70, 24_999, 65_535, 2**40])), 0, 1])
    arrays = {"train_x": np.zeros((4, 2, 2, 3), np.uint8), "train_y": labels}
    arrays |= {"test_x": np.zeros((2, 2, 2, 3), np.uint8), "test_y": np.array([0, 1])}
    kind = data.draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.npz"
        with zipfile.ZipFile(path, "w", kind) as file:
            for name, array in arrays.items():
                file.writestr(f"{name}.npy", _array_file(data, array))
        if data.draw(st.booleans()):
            path.write_bytes(data.draw(damaged(path.read_bytes())))
        tolerant(lambda: loading.load(f"npz:{path}"))


def _zip(data: st.DataObject, buffer: io.BytesIO) -> None:
    kind = data.draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA]))
    with zipfile.ZipFile(buffer, "w", kind) as file:
        for _ in range(data.draw(st.integers(0, 3))):
            name = data.draw(NAMES)
            if name not in file.namelist():
                file.writestr(zipfile.ZipInfo(name or "empty"), b"\0" * data.draw(st.sampled_from([0, 9, 10**5])))


def _tar(data: st.DataObject, buffer: io.BytesIO) -> None:
    mode: Any = data.draw(st.sampled_from(["w", "w:gz", "w:xz", "w:bz2"]))
    with tarfile.open(fileobj=buffer, mode=mode, format=tarfile.PAX_FORMAT) as file:
        for _ in range(data.draw(st.integers(0, 3))):
            member = tarfile.TarInfo(data.draw(NAMES))
            member.type = data.draw(st.sampled_from([tarfile.REGTYPE] * 4 + [tarfile.SYMTYPE, tarfile.DIRTYPE]))
            member.pax_headers, member.size = data.draw(PAX), 9
            file.addfile(member, io.BytesIO(b"1\n0\n3\nabc"))


def archive_is_unpacked_or_rejected(data: st.DataObject) -> None:
    buffer = io.BytesIO()
    data.draw(st.sampled_from([_zip, _tar]))(data, buffer)
    with tempfile.TemporaryDirectory() as folder:
        archive, root = Path(folder) / "a", Path(folder) / "root"
        content = buffer.getvalue()
        archive.write_bytes(data.draw(damaged(content)) if data.draw(st.booleans()) else content)
        tolerant(lambda: unpack(archive, root / "pets"))
        assert {path.name for path in Path(folder).iterdir()} <= {"a", "root"}
        written = list(root.rglob("*"))
        assert not any(path.is_symlink() for path in written)
        assert sum(path.stat().st_size for path in written if path.is_file()) <= MIN_UNPACKED_LIMIT


@cache
def _images() -> tuple[bytes, ...]:
    contents = []
    for kind in ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM", "ICNS", "EPS"):
        Image.new("RGB", (16, 16), (200, 30, 60)).save(buffer := io.BytesIO(), kind)
        contents.append(buffer.getvalue())
    return tuple(contents)


def image_is_decoded_or_rejected(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.jpg"
        path.write_bytes(data.draw(damaged(data.draw(st.sampled_from(_images())))))
        tolerant(lambda: decode(path, 8))


@cache
def _weights() -> dict[str, torch.Tensor]:
    return build(IMAGE_SIZE).state_dict()


TENSORS: tuple[Callable[[torch.Tensor], Any], ...] = (
    lambda t: torch.zeros(3),
    lambda t: torch.zeros(0),
    lambda t: torch.zeros(1).expand(10**6, 10**6),
    lambda t: t.to(torch.complex64),
    lambda t: t.to_sparse(),
    lambda t: t.to("meta"),
    lambda t: t.half(),
    lambda t: t[:0],
    lambda t: t.numpy().tolist(),
    lambda t: 1,
)


def weights_are_read_or_rejected(data: st.DataObject) -> None:
    state: dict[Any, Any] = dict(_weights())
    for _ in range(data.draw(st.integers(0, 2))):
        name = data.draw(st.sampled_from(["pos_embed", "norm.bias", *list(state)[:5]]))
        state[name] = data.draw(st.sampled_from(TENSORS))(_weights()[name])
    for key in data.draw(st.lists(st.sampled_from([1, 2.5, None, (1,), b"x", "head.weight", "\x1b", ""]), max_size=2)):
        state[key] = torch.zeros(1)
    wrapped = data.draw(st.sampled_from([state, {"model": state}, {"state_dict": {"model": state}}, [state], {1: 2}]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / data.draw(st.sampled_from(["a.pt", "a.safetensors"]))
        torch.save(wrapped, path)
        if data.draw(st.integers(0, 3)) == 0:
            path.write_bytes(data.draw(damaged(path.read_bytes())))
        tolerant(lambda: backbones._embedded(str(path), None, None))


PROPERTIES = (
    preset_is_read_or_rejected,
    claims_are_read_or_rejected,
    value_of_a_field_is_read_or_rejected,
    partition_is_read_or_rejected,
    federation_is_read_or_rejected,
    arrays_are_read_or_rejected,
    archive_is_unpacked_or_rejected,
    image_is_decoded_or_rejected,
    weights_are_read_or_rejected,
)
SLOW = (weights_are_read_or_rejected,)
"""Take a second per example."""
