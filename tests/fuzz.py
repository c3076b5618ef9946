"""Feeds damaged and hostile files to every reader: each file is read, or rejected with an error of this project.

`python -m tests.fuzz SECONDS` runs for that time, with new examples in each pass.
"""

import copy
import json
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from fedprompt.benchmark.config.options import Options, options
from fedprompt.benchmark.config.preset_files import read_preset
from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.runs import prune
from fedprompt.benchmark.runs.checkpoint import CheckpointError, pack, restore, unpack
from fedprompt.benchmark.runs.execute import execute
from fedprompt.benchmark.runs.reproduce import config_of
from fedprompt.benchmark.runs.status import directory_status
from fedprompt.benchmark.runs.store import Entry, Store
from fedprompt.benchmark.sweep.order import longest_first
from fedprompt.data.errors import DataError
from fedprompt.data.partitions import partition_files
from fedprompt.methods.errors import MethodError
from fedprompt.results.errors import RecordError
from fedprompt.results.records import frames as records
from fedprompt.results.records.export import runs as exported
from fedprompt.results.tables import leaderboard as table
from tests import toy
from tests.benchmark.conftest import config

EXPECTED_ERRORS = (ConfigError, DataError, MethodError, RecordError, CheckpointError)
LEAVES = st.none() | st.booleans() | st.integers(-3, 2**70) | st.floats() | st.text(max_size=8)
HOSTILE = st.sampled_from(["../../x", "/etc/passwd", "!!python/object/apply:os.system", "\x00", "__class__", "nan"])
JSON = st.recursive(
    LEAVES | HOSTILE,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


def _places(document: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items: Any = ()
    if isinstance(document, dict | list):
        items = document.items() if isinstance(document, dict) else enumerate(document)
    return [at, *(place for key, value in items for place in _places(value, (*at, key)))]


@st.composite
def changed(draw: st.DrawFn, document: Any) -> Any:
    """Returns the document with up to three values removed or replaced."""
    whole = copy.deepcopy(document)
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.sampled_from(_places(whole)))
        if not place:
            return draw(JSON)
        parent = whole
        for key in place[:-1]:
            parent = parent[key]
        if draw(st.booleans()):
            parent[place[-1]] = draw(JSON)
        elif isinstance(parent, dict):
            del parent[place[-1]]
    return whole


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """Returns the content truncated, with changed bytes, or other bytes altogether."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=64))
    whole = bytearray(content)
    for _ in range(draw(st.integers(0, 4))):
        whole[draw(st.integers(0, len(whole) - 1))] = draw(st.integers(0, 255))
    return bytes(whole[: draw(st.integers(0, len(whole)))] if draw(st.booleans()) else whole)


def json_file(data: st.DataObject, document: Any) -> bytes:
    """Returns a changed document as JSON, possibly damaged."""
    whole = json.dumps(data.draw(changed(document))).encode()
    return data.draw(damaged(whole)) if data.draw(st.booleans()) else whole


def tolerant(call: Callable[[], object]) -> None:
    """Calls a function, and suppresses the errors of this project only."""
    with suppress(*EXPECTED_ERRORS):
        call()


@cache
def result() -> dict[str, Any]:
    """Returns the result of a run, as the store writes it."""
    whole = execute(config()).result | {"by_class": {"gate": [[0.5, None], [None, 1.0]]}}
    return json.loads(json.dumps(whole))  # type: ignore[no-any-return]


@cache
def checkpoint() -> tuple[bytes, dict[str, Any]]:
    """Returns a checkpoint of a toy run, and its header."""
    run = toy.simulator("fedper", rounds=1, executor="sequential")
    run.run()
    content = pack(run, "id", 1.0, [])
    return content, unpack(content, "id")[0].model_dump()


def record_is_read_or_rejected(data: st.DataObject) -> None:
    content = json_file(data, result())
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / config().run_id
        place.mkdir()
        (place / "result.json").write_bytes(content)
        tolerant(lambda: longest_first([config()], Store(folder).entries()))
        tolerant(lambda: directory_status(Path(folder)))
        tolerant(lambda: prune.find(Path(folder), unfinished=True, grid=(), commit=""))
        tolerant(lambda: table.render(table.leaderboard(records.load(folder)), "text"))
        tolerant(lambda: records.tables(folder))
        tolerant(lambda: exported(records.Runs(folder)))
        assert [path.name for path in Path(folder).iterdir()] == [place.name]


def method_overrides_are_read_or_rejected(data: st.DataObject) -> None:
    own = {config().run_id: {"options": ["lr"], "trials": 4}}
    content = json_file(data, own)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / config().run_id).mkdir()
        (Path(folder) / config().run_id / "result.json").write_text(json.dumps(result()))
        (Path(folder) / "own_settings.json").write_bytes(content)
        tolerant(lambda: table.render(table.leaderboard(records.load(folder)), "text"))
        tolerant(lambda: Store(folder).add_method_overrides({"another": {"trials": 1}}))


def stored_configuration_is_accepted_or_rejected(data: st.DataObject) -> None:
    whole = result() | {"config": data.draw(changed(result()["config"]))}
    if isinstance(whole["config"], dict):
        tolerant(lambda: config_of(Entry(config().run_id, "done", whole), ()))


def preset_is_read_or_rejected(data: st.DataObject) -> None:
    import yaml

    document = data.draw(changed({"rounds": 3, "methods": ["head"], "alpha": [0.5], "set": ["fedvpt.tokens=2"]}))
    content = yaml.safe_dump(document).encode() if data.draw(st.booleans()) else data.draw(damaged(b"rounds: 3\nlr: 1"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "own.yaml"
        path.write_bytes(content)
        tolerant(lambda: read_preset(str(path), Options.model_fields))
        tolerant(lambda: options({}, str(path)))


def partition_is_read_or_rejected(data: st.DataObject) -> None:
    lists = {"train": [[0, 1], [2]], "test": {"0": [3], "1": [4]}}
    content = json_file(data, lists)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "partition.json"
        path.write_bytes(content)
        tolerant(lambda: partition_files.read(path))


def checkpoint_is_read_or_rejected(data: st.DataObject) -> None:
    content = data.draw(damaged(checkpoint()[0]))
    tolerant(lambda: unpack(content, "id"))


def forged_header_is_accepted_or_rejected(data: st.DataObject) -> None:
    """An attacker has replaced the header of a checkpoint, with a matching digest."""
    from safetensors.torch import load, save

    from fedprompt.benchmark.runs.checkpoint import _digest

    tensors, text = load(checkpoint()[0]), json.dumps(data.draw(changed(checkpoint()[1])))
    content = save(tensors, {"head": text, "digest": _digest(text, tensors)})
    run = toy.simulator("fedper", rounds=1, executor="sequential")
    tolerant(lambda: restore(run, *unpack(content, "id")))


PROPERTIES = (
    record_is_read_or_rejected,
    method_overrides_are_read_or_rejected,
    stored_configuration_is_accepted_or_rejected,
    preset_is_read_or_rejected,
    partition_is_read_or_rejected,
    checkpoint_is_read_or_rejected,
    forged_header_is_accepted_or_rejected,
)


def run(check: Callable[[st.DataObject], None], examples: int, number: int | None = None) -> None:
    """Checks a property on some examples: the same ones every time, or those of a pass."""
    tested = given(data=st.data())(lambda data: check(data))
    quiet = settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=number is None,
        suppress_health_check=list(HealthCheck),
    )
    (quiet(tested) if number is None else seed(number)(quiet(tested)))()


def main(seconds: float) -> int:
    """Checks all properties for a time; returns the number of failures."""
    deadline, number, failures, counts = time.monotonic() + seconds, 0, 0, dict.fromkeys(PROPERTIES, 0)
    while time.monotonic() < deadline:
        for check in PROPERTIES:
            counts[check] += 100
            try:
                run(check, 100, number)
            except Exception:  # shown at once; the other properties continue
                failures += 1
                traceback.print_exc()
        number += 1
    print(", ".join(f"{check.__name__} {count}" for check, count in counts.items()), f"examples; {failures} failures")
    return failures


if __name__ == "__main__":
    sys.exit(1 if main(float(sys.argv[1])) else 0)
