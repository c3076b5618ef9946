import json
import os
import shutil
import socket
import subprocess
import sys
from collections import namedtuple
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from fedprompt.benchmark.config.run_config import RunConfig
from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.runs.execute import Record, failed
from fedprompt.benchmark.runs.store import SPARE_BYTES, Store
from fedprompt.results.errors import RecordError
from fedprompt.results.records.files import own_settings
from tests.benchmark.conftest import config, configs

ROOT = Path(__file__).parents[3]


def done(run: RunConfig) -> Record:
    rounds = [{"round": 0, "seen_mean": 0.1}, {"round": 1, "seen_mean": 0.5}]
    clients = [{"client": 0, "domain": None, "class_counts": [1, 2]}]
    return replace(
        failed(run, ""),
        result=failed(run, "").result | {"status": "done", "error": None},
        rounds=rounds,
        clients=clients,
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "runs" / "deep")
    store.prepare()
    return store


def names(store: Store) -> list[str]:
    return sorted(os.listdir(store.directory))


def test_a_record_comes_back_as_it_was_written(store: Store) -> None:
    record = done(config())
    place = store.write(record, "all well")
    assert place == store.directory / record.config.run_id
    assert names(store) == [record.config.run_id]
    assert json.loads((place / "result.json").read_text()) == record.result
    assert (place / "log.txt").read_text() == "all well"
    assert pd.read_parquet(place / "rounds.parquet").to_dict("records") == record.rounds
    (client,) = pd.read_parquet(place / "clients.parquet").to_dict("records")
    assert client["class_counts"].tolist() == [1, 2]
    entry = store.entry(record.config.run_id)
    assert entry is not None
    assert (entry.status, entry.result) == ("done", record.result)


def test_the_configuration_on_disk_gives_the_name_of_the_run(store: Store) -> None:
    run = config(methods=("pep-fedpt+fedprox",), set=("fedprox.mu=0.5",))
    place = store.write(done(run))
    again = RunConfig(**json.loads((place / "config.json").read_text()))
    assert again == run
    assert again.run_id == place.name


def test_a_failed_run_is_replaced_and_never_taken_for_done(store: Store) -> None:
    first, second = configs(seeds=(0, 1))
    store.write(failed(first, "it broke"), "traceback")
    assert store.pending([first, second]) == [first, second]
    entry = store.entry(first.run_id)
    assert entry is not None
    assert (entry.status, entry.result["error"]) == ("failed", "it broke")
    store.write(done(first))
    assert store.pending([first, second]) == [second]
    assert names(store) == [first.run_id]
    assert (store.directory / first.run_id / "log.txt").read_text() == ""


def test_a_failed_run_leaves_no_rows(store: Store) -> None:
    place = store.write(failed(config(), "it broke"))
    assert not list(place.glob("*.parquet"))


def test_all_is_pending_where_nothing_is(tmp_path: Path) -> None:
    runs = configs(seeds=(0, 1))
    assert Store(tmp_path / "none").pending(runs) == runs
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), RuntimeError()])
def test_a_write_that_breaks_off_leaves_no_half_a_run(
    before: bool, error: BaseException, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = config()
    if before:
        store.write(failed(run, "it broke"))

    def full(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as broken:
        broken.setattr(pd.DataFrame, "to_parquet", full)
        with pytest.raises(ConfigError if isinstance(error, OSError) else type(error)):
            store.write(done(run))
    assert [e.status for e in store.entries()] == (["failed"] if before else [])
    assert store.pending([run]) == [run]
    store.prepare()
    assert names(store) == ([run.run_id] if before else [])
    store.write(done(run))
    assert store.pending([run]) == []


def test_a_full_disk_in_the_middle_is_told_in_plain_words(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", full)
    with pytest.raises(ConfigError, match=f"{config().run_id} cannot be written: no space left on device"):
        store.write(done(config()))
    assert names(store) == []


def test_what_a_killed_driver_left_is_cleaned_away(store: Store) -> None:
    leftover = store.directory / f".unfinished-{socket.gethostname()}-999999999-abc"  # no process has so high a number
    leftover.mkdir()
    (leftover / "result.json").write_text("{")
    assert store.entries() == []
    store.prepare()
    assert names(store) == []


@pytest.mark.parametrize(
    ("name", "host", "pid"),
    [("node-1-77-abc", "node-1", "77"), ("1-abc", "", "1"), ("abc", "", "")],
)
def test_what_is_unfinished_names_its_writer(name: str, host: str, pid: str, store: Store) -> None:
    (store.directory / f".unfinished-{name}").mkdir()
    assert list(store.unfinished()) == [(store.directory / f".unfinished-{name}", host, pid)]
    store.prepare()


def test_what_several_sweeps_note_of_their_runs_at_once_is_all_kept(store: Store) -> None:
    code = (
        "import sys; from fedprompt.benchmark.runs.store import Store\n"
        "store = Store(sys.argv[1]); sys.stdin.readline()\n"
        "for n in range(100): store.note_own({f'{sys.argv[2]}-{n}': {'trials': n}})"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", code, store.directory, name], cwd=ROOT, stdin=subprocess.PIPE)
        for name in ("one", "other")
    ]
    for process in both:
        assert process.stdin is not None
        process.stdin.close()  # both begin now
    assert [process.wait(timeout=120) for process in both] == [0, 0]
    expected = {f"{name}-{n}": {"trials": n} for name in ("one", "other") for n in range(100)}
    assert own_settings(store.directory) == expected


def test_notes_that_cannot_be_read_are_named_and_not_replaced(store: Store) -> None:
    path = store.directory / "own_settings.json"
    path.write_text('{"one": ')
    with pytest.raises(RecordError, match=f"{path} is not valid JSON"):
        store.note_own({"other": {"trials": 1}})
    assert path.read_text() == '{"one": '


def test_a_directory_with_little_room_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, SPARE_BYTES - 1))
    with pytest.raises(ConfigError, match=r"49 MiB left.*free some"):
        store.prepare()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, SPARE_BYTES))
    store.prepare()


@pytest.mark.parametrize("below", ["", "deep/er"])
def test_a_directory_that_cannot_be_made_is_named(below: str, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(ConfigError, match=r"--out .*taken.* cannot be written: .*; name another"):
        Store(tmp_path / "taken" / below).prepare()
    assert (tmp_path / "taken").read_text() == "a file"


def test_a_directory_that_cannot_be_written_in_is_named(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        if path.name.startswith(".unfinished"):
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(ConfigError, match=r"--out .* cannot be written: permission denied"):
        store.prepare()


def broken(store: Store, text: str) -> Any:
    place = store.write(done(config()))
    (place / "result.json").write_text(text)
    return place / "result.json"


@pytest.mark.parametrize("text", ["", "{", '{"format": 1, ', "\x00"])
def test_a_broken_record_is_named_with_the_remedy(text: str, store: Store) -> None:
    path = broken(store, text)
    for read in (lambda: store.entry(config().run_id), store.entries, lambda: store.pending([config()])):
        with pytest.raises(ConfigError, match=f"{path} cannot be read; delete its directory"):
            read()


@pytest.mark.parametrize(("text", "found"), [('{"format": 2}', "2"), ("{}", "None"), ("[]", "None"), ("3", "None")])
def test_a_record_of_another_format_is_refused(text: str, found: str, store: Store) -> None:
    path = broken(store, text)
    with pytest.raises(ConfigError, match=f"{path} has record format {found}; .*--out"):
        store.pending([config()])


def test_a_record_that_lacks_its_status_is_named(store: Store) -> None:
    path = broken(store, '{"format": 1}')
    with pytest.raises(ConfigError, match=str(path)):
        store.entries()


def test_what_is_no_run_is_passed_over(store: Store) -> None:
    store.write(done(config()))
    (store.directory / "figures").mkdir()
    (store.directory / "table.txt").write_text("")
    assert [entry.run_id for entry in store.entries()] == [config().run_id]


def test_a_directory_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none is not a directory of runs; .*sweep --out"):
        Store(tmp_path / "none").entries()


def test_a_second_driver_leaves_the_first_ones_unfinished_record_alone(store: Store) -> None:
    mine = store.directory / f".unfinished-{socket.gethostname()}-{os.getppid()}-abc"  # of a process that lives
    mine.mkdir()
    store.prepare()
    assert mine.exists()
