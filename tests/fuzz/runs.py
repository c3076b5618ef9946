"""Readers of directories of runs: records, their tables, locks, checkpoints, and commands that read them."""

import json
import lzma
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
from hypothesis import strategies as st

from fedprompt.benchmark.runs import prune
from fedprompt.benchmark.runs.checkpoint import pack, restore, unpack
from fedprompt.benchmark.runs.checkpoint_files import CheckpointFiles
from fedprompt.benchmark.runs.driver_status import FOLDER, active_drivers
from fedprompt.benchmark.runs.execute import execute
from fedprompt.benchmark.runs.locks import Locks
from fedprompt.benchmark.runs.merge import merge
from fedprompt.benchmark.runs.reproduce import config_of
from fedprompt.benchmark.runs.retry import failed_runs
from fedprompt.benchmark.runs.status import directory_status
from fedprompt.benchmark.runs.store import CHECKPOINT, Entry, Store
from fedprompt.benchmark.scheduling.order import longest_first
from fedprompt.benchmark.scheduling.progress import line
from fedprompt.results.records import archive
from fedprompt.results.records import frames as records
from fedprompt.results.records.export import export_folder
from fedprompt.results.records.export import runs as exported
from fedprompt.results.report import write as write_report
from fedprompt.results.tables import leaderboard as table
from tests import toy
from tests.benchmark.conftest import config
from tests.fuzz.damage import changed, damaged, json_file, tolerant
from tests.results.conftest import CLIENTS, writer

PROGRESS = {
    "runs": 3,
    "finished": 1,
    "failed": 0,
    "images_per_second": 5.0,
    "seconds_left": 1.5,
    "running": [{"run_id": "r000", "name": "head", "round": 1, "rounds": 8, "worker": "host:1"}],
}
ROUNDS = pd.DataFrame({"round": [0, 1], "train_loss": [2.0, 1.0], "seen_mean": [0.1, 0.5], "seconds": [0.0, 1.0]})
LOCK = ".own_settings.json.lock"
VALUES = st.sampled_from(
    [float("inf"), float("nan"), 1e308, -1, 2**63 - 1, "x", "", None, True, [1], [[1]], {"a": 1}, b"x", ["x"], []]
)


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
        json.dumps(directory_status(Path(folder)), indent=1)
        tolerant(lambda: prune.find(Path(folder), unfinished=True, grid=(), commit=""))
        tolerant(lambda: table.render(table.leaderboard(records.load(folder)), "text"))
        tolerant(lambda: records.tables(folder))
        tolerant(lambda: exported(records.Runs(folder)))
        assert [path.name for path in Path(folder).iterdir()] == [place.name]


def method_overrides_are_read_or_rejected(data: st.DataObject) -> None:
    content = json_file(data, {config().run_id: {"options": ["lr"], "trials": 4}})
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


def failed_run_is_retried_or_rejected(data: st.DataObject) -> None:
    failed = result() | {"status": "failed", "error": "x", "error_kind": None}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / config().run_id
        place.mkdir()
        (place / "result.json").write_bytes(
            json_file(data, failed) if data.draw(st.booleans()) else json.dumps(failed).encode()
        )
        (place / "config.json").write_bytes(json_file(data, result()["config"]))
        tolerant(lambda: failed_runs(Store(folder)))
        tolerant(lambda: prune.find(Path(folder)))
        json.dumps(directory_status(Path(folder)), indent=1)


def directories_are_merged_or_rejected(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        sources = [Path(folder) / name for name in "ab"]
        for source in sources:
            place = source / config().run_id
            place.mkdir(parents=True)
            (place / "result.json").write_bytes(json_file(data, result()))
            (source / "own_settings.json").write_bytes(json_file(data, {config().run_id: {"trials": 4}}))
            if data.draw(st.booleans()):
                (place / "rounds.parquet").mkdir()
        tolerant(lambda: merge(sources, Path(folder) / "out"))
        assert {path.name for path in Path(folder).iterdir()} <= {"a", "b", "out"}


def exported_records_are_merged_or_rejected(data: st.DataObject) -> None:
    """The records of an exported folder are changed, repacked or damaged; so may be one of its tables."""
    with tempfile.TemporaryDirectory() as folder:
        exported_folder = Path(folder) / "exported"
        for name, content in _exported_files().items():
            exported_folder.mkdir(exist_ok=True)
            (exported_folder / name).write_bytes(content)
        path = exported_folder / archive.FILE
        line = lzma.decompress(path.read_bytes())
        if data.draw(st.booleans()):
            path.write_bytes(data.draw(damaged(path.read_bytes())))
        else:
            again = [json_file(data, json.loads(line)) for _ in range(data.draw(st.integers(1, 2)))]
            path.write_bytes(lzma.compress(b"\n".join(again)))
        if data.draw(st.integers(0, 3)) == 0:
            what = data.draw(st.sampled_from(["runs", *archive.TABLES]))
            table = pd.read_parquet(exported_folder / f"{what}.parquet")
            parquet_file(data, table, exported_folder / f"{what}.parquet")
        tolerant(lambda: merge([exported_folder], Path(folder) / "out"))
        assert {path.name for path in Path(folder).iterdir()} <= {"exported", "out"}
        if (out := Path(folder) / "out").exists():
            assert {path.name for path in out.iterdir()} <= {config().run_id, "own_settings.json", LOCK}
            records.Runs(out).rounds()


@cache
def _exported_files() -> dict[str, bytes]:
    """The files of an exported folder of one run."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "runs")
        store.prepare()
        store.write(execute(config()))
        store.add_method_overrides({config().run_id: {"trials": 4}})
        export_folder(store.directory, Path(folder) / "exported")
        return {path.name: path.read_bytes() for path in (Path(folder) / "exported").iterdir()}


def live_files_are_read_or_left_out(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        locks = Locks(Path(folder) / FOLDER)
        for name, content in (("driver-a", {"progress": PROGRESS}), ("r000", {"run": "head", "driver": "x"})):
            locks.acquire(name)
            (locks.folder / f"{name}.json").write_bytes(json_file(data, {"host": "h", "pid": 1, **content}))
        json.dumps(directory_status(Path(folder)), indent=1)
        for progress in active_drivers(Path(folder)).values():
            line(progress)
        locks.release_all()


def parquet_file(data: st.DataObject, good: pd.DataFrame, path: Path) -> None:
    """Writes a table with changed columns, possibly damaged."""
    frame = good.copy()
    for _ in range(data.draw(st.integers(0, 3))):
        name = data.draw(st.sampled_from([*frame.columns, "method", "new"]))
        if data.draw(st.booleans()) and name in frame:
            frame = frame.drop(columns=name)
        else:
            frame[name] = pd.Series([data.draw(VALUES)] * len(frame), dtype=object)
    frame = frame.head(data.draw(st.integers(0, len(frame))))
    try:
        frame.to_parquet(path)
    except Exception:  # values that no parquet file can hold
        good.to_parquet(path)
    if data.draw(st.integers(0, 3)) == 0:
        path.write_bytes(data.draw(damaged(path.read_bytes())))


def report_is_written_or_the_run_left_out(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write = writer(Path(folder))
        write("head", seed=0)
        place = write("fedvpt", seed=0)
        record = data.draw(changed(json.loads((place / "result.json").read_text())))
        (place / "result.json").write_text(json.dumps(record))
        parquet_file(data, ROUNDS, place / "rounds.parquet")
        parquet_file(data, CLIENTS, place / "clients.parquet")
        runs, left_out = Path(folder) / "runs", list[Exception]()
        tolerant(lambda: export_folder(runs, Path(folder) / "exported", left_out.append))
        tolerant(lambda: write_report(runs, Path(folder) / "report.html", left_out.append))
        assert len(left_out) <= 3 * 2, "the intact run was left out"


def exported_table_is_read_or_rejected(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        writer(Path(folder))("head")
        good = exported(records.Runs(Path(folder) / "runs"))
        if data.draw(st.booleans()):
            path = Path(folder) / "runs.csv"
            good.to_csv(path, index=False)
            path.write_bytes(data.draw(damaged(path.read_bytes())))
        else:
            parquet_file(data, good, path := Path(folder) / "runs.parquet")
        tolerant(lambda: table.render(table.leaderboard(records.load(path)), "text"))


def checkpoint_is_read_or_rejected(data: st.DataObject) -> None:
    content = data.draw(damaged(checkpoint()[0]))
    tolerant(lambda: unpack(content, "id"))
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "id").mkdir()
        (Path(folder) / "id" / CHECKPOINT).write_bytes(content)
        CheckpointFiles(Store(folder)).load("id")


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
    failed_run_is_retried_or_rejected,
    directories_are_merged_or_rejected,
    exported_records_are_merged_or_rejected,
    live_files_are_read_or_left_out,
    report_is_written_or_the_run_left_out,
    exported_table_is_read_or_rejected,
    checkpoint_is_read_or_rejected,
    forged_header_is_accepted_or_rejected,
)
SLOW = (report_is_written_or_the_run_left_out,)
"""Take a second per example."""
