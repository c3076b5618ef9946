import errno
import json
import os
import shutil
import socket
import subprocess
import sys
from collections import namedtuple
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pandas as pd
import pytest

from fedprompt.benchmark.config.run_config import RunConfig
from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.runs.record import failed
from fedprompt.benchmark.runs.store import MIN_FREE_BYTES, Store
from fedprompt.results.errors import RecordError
from fedprompt.results.records.files import own_settings, read_record
from tests.benchmark.conftest import config, configs

ROOT = Path(__file__).parents[3]


def done(run):
    rounds = [{"round": 0, "seen_mean": 0.1}, {"round": 1, "seen_mean": 0.5}]
    clients = [{"client": 0, "domain": None, "class_counts": [1, 2]}]
    return replace(
        failed(run, ""),
        result=failed(run, "").result | {"status": "done", "error": None},
        rounds=rounds,
        clients=clients,
    )


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "runs" / "deep")
    store.prepare()
    return store


def file_names(store):
    return sorted(os.listdir(store.directory))


def test_a_record_is_read_as_it_was_written(store):
    record = done(config())
    place = store.write(record, "the log")
    assert place == store.directory / record.config.run_id
    assert file_names(store) == [record.config.run_id]
    assert json.loads((place / "result.json").read_text()) == record.result
    assert (place / "log.txt").read_text() == "the log"
    assert pd.read_parquet(place / "rounds.parquet").to_dict("records") == record.rounds
    (client,) = pd.read_parquet(place / "clients.parquet").to_dict("records")
    assert client["class_counts"].tolist() == [1, 2]
    entry = store.entry(record.config.run_id)
    assert (entry.status, entry.result) == ("done", record.result)


def test_the_stored_configuration_has_the_id_of_its_run(store):
    run = config(methods=("pep-fedpt+fedprox",), set=("fedprox.mu=0.5",))
    place = store.write(done(run))
    again = RunConfig(**json.loads((place / "config.json").read_text()))
    assert again == run
    assert again.run_id == place.name


def test_a_failed_run_is_pending_and_is_replaced(store):
    first, second = configs(seeds=(0, 1))
    store.write(failed(first, "it broke"), "traceback")
    assert store.pending([first, second]) == [first, second]
    entry = store.entry(first.run_id)
    assert (entry.status, entry.result["error"]) == ("failed", "it broke")
    store.write(done(first))
    assert store.pending([first, second]) == [second]
    assert file_names(store) == [first.run_id]
    assert (store.directory / first.run_id / "log.txt").read_text() == ""


def test_a_failed_run_leaves_no_rows(store):
    place = store.write(failed(config(), "it broke"))
    assert not list(place.glob("*.parquet"))


def test_every_run_is_pending_if_the_directory_does_not_exist(tmp_path):
    runs = configs(seeds=(0, 1))
    assert Store(tmp_path / "none").pending(runs) == runs
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), RuntimeError()])
def test_an_interrupted_write_leaves_no_partial_run(before, error, store, monkeypatch):
    run = config()
    if before:
        store.write(failed(run, "it broke"))

    with monkeypatch.context() as broken:
        broken.setattr(pd.DataFrame, "to_parquet", Mock(side_effect=error))
        with pytest.raises(ConfigError if isinstance(error, OSError) else type(error)):
            store.write(done(run))
    assert [e.status for e in store.entries()] == (["failed"] if before else [])
    assert store.pending([run]) == [run]
    store.prepare()
    assert file_names(store) == ([run.run_id] if before else [])
    store.write(done(run))
    assert store.pending([run]) == []


def test_a_full_disk_during_a_write_is_reported(store, monkeypatch):
    monkeypatch.setattr(pd.DataFrame, "to_parquet", Mock(side_effect=OSError(28, "No space left on device")))
    with pytest.raises(ConfigError, match=f"{config().run_id} cannot be written: no space left on device"):
        store.write(done(config()))
    assert file_names(store) == []


def test_temporary_folders_of_a_killed_driver_are_deleted(store):
    leftover = store.directory / f".unfinished-{socket.gethostname()}-999999999-abc"  # no process has so high a number
    leftover.mkdir()
    (leftover / "result.json").write_text("{")
    assert store.entries() == []
    store.prepare()
    assert file_names(store) == []


@pytest.mark.parametrize(
    ("name", "host", "pid"),
    [("node-1-77-abc", "node-1", "77"), ("1-abc", "", "1"), ("abc", "", "")],
)
def test_the_writer_of_a_temporary_folder_is_read_from_its_name(name, host, pid, store):
    (store.directory / f".unfinished-{name}").mkdir()
    assert list(store.temporary_folders()) == [(store.directory / f".unfinished-{name}", host, pid)]
    store.prepare()


def test_several_sweeps_can_add_method_overrides_at_once(store):
    code = (
        "import sys; from fedprompt.benchmark.runs.store import Store\n"
        "store = Store(sys.argv[1]); sys.stdin.readline()\n"
        "for n in range(100): store.add_method_overrides({f'{sys.argv[2]}-{n}': {'trials': n}})"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", code, store.directory, name], cwd=ROOT, stdin=subprocess.PIPE)
        for name in ("one", "other")
    ]
    for process in both:
        process.stdin.close()  # both processes start now
    assert [process.wait(timeout=120) for process in both] == [0, 0]
    expected = {f"{name}-{n}": {"trials": n} for name in ("one", "other") for n in range(100)}
    assert own_settings(store.directory) == expected


def test_unreadable_method_overrides_are_reported_and_not_replaced(store):
    path = store.directory / "own_settings.json"
    path.write_text('{"one": ')
    with pytest.raises(RecordError, match=f"{path} is not valid JSON"):
        store.add_method_overrides({"other": {"trials": 1}})
    assert path.read_text() == '{"one": '


def test_a_directory_on_an_almost_full_disk_is_rejected(store, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, MIN_FREE_BYTES - 1))
    with pytest.raises(ConfigError, match=r"49 MiB free; a sweep needs 50.*Free some space"):
        store.prepare()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, MIN_FREE_BYTES))
    store.prepare()


@pytest.mark.parametrize("below", ["", "deep/er"])
def test_a_directory_that_cannot_be_created_is_reported(below, tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(ConfigError, match=r"--out .*taken.* cannot be written: .*; choose another"):
        Store(tmp_path / "taken" / below).prepare()
    assert (tmp_path / "taken").read_text() == "a file"


def test_a_directory_that_cannot_be_written_is_reported(store, monkeypatch):
    def refuse(path, *_, **__):
        if path.name.startswith(".unfinished"):
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(ConfigError, match=r"--out .* cannot be written: permission denied"):
        store.prepare()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *((text, "cannot be read") for text in ("", "{", '{"format": 1, ', "\x00")),
        *((text, "has record format None; .*--out") for text in ("{}", "[]", "3")),
        ('{"format": 2}', "has record format 2; .*--out"),
        ('{"format": 1}', "has no valid status; delete its directory"),
    ],
)
def test_an_invalid_record_is_reported_with_the_remedy(text, message, store):
    path = store.write(done(config())) / "result.json"
    path.write_text(text)
    for read in (lambda: store.entry(config().run_id), store.entries, lambda: store.pending([config()])):
        with pytest.raises(ConfigError, match=f"{path} {message}"):
            read()


def test_other_files_in_the_directory_are_ignored(store):
    store.write(done(config()))
    (store.directory / "figures").mkdir()
    (store.directory / "table.txt").write_text("")
    assert [entry.run_id for entry in store.entries()] == [config().run_id]


def test_a_missing_directory_is_reported(tmp_path):
    with pytest.raises(ConfigError, match=r"none is not a directory of runs; .*sweep --out"):
        Store(tmp_path / "none").entries()


def test_temporary_folders_of_a_running_driver_are_not_deleted(store):
    folder = store.directory / f".unfinished-{socket.gethostname()}-{os.getppid()}-abc"
    folder.mkdir()
    store.prepare()
    assert folder.exists()


@pytest.mark.parametrize("failing", [1, 2])
def test_a_rename_that_fails_leaves_the_earlier_record(failing, store, monkeypatch):
    run, rename, calls = config(), os.replace, []
    store.write(failed(run, "it broke"))

    def replace(source, target):
        calls.append(source)
        if len(calls) == failing:
            raise OSError(errno.EIO, "Input/output error")
        rename(source, target)

    with monkeypatch.context() as broken:
        broken.setattr(os, "replace", replace)
        with pytest.raises(ConfigError, match=f"record of {run.run_id} cannot be written: input/output error"):
            store.write(done(run))
    assert file_names(store) == [run.run_id]
    assert store.entry(run.run_id).status == "failed"


def test_an_earlier_record_that_could_not_be_moved_back_returns_with_the_next_sweep(store, monkeypatch):
    run, rename = config(), os.replace
    store.write(failed(run, "it broke"))

    def replace(source, target):
        if target == store.directory / run.run_id:
            raise OSError(errno.EIO, "Input/output error")
        rename(source, target)

    with monkeypatch.context() as broken:
        broken.setattr(os, "replace", replace)
        with pytest.raises(ConfigError, match="cannot be written: input/output error"):
            store.write(done(run))
    (left,) = store.directory.iterdir()
    left.rename(left.with_name(left.name.replace(f"-{os.getpid()}-", "-999999999-")))  # its process has ended
    store.prepare()
    assert file_names(store) == [run.run_id]
    assert store.entry(run.run_id).status == "failed"


def test_a_directory_that_vanishes_while_it_is_read_is_reported(store, monkeypatch):
    monkeypatch.setattr(Path, "iterdir", Mock(side_effect=FileNotFoundError(2, "No such file or directory")))
    with pytest.raises(ConfigError, match="cannot be read: no such file or directory"):
        store.entries()


def test_a_directory_that_was_replaced_during_a_sweep_is_reported(store):
    store.check_directory()
    store.directory.rename(store.directory.with_name("moved"))
    with pytest.raises(ConfigError, match="cannot be reached any more: no such file or directory"):
        store.check_directory()
    store.directory.mkdir()
    with pytest.raises(ConfigError, match="was deleted or replaced by another directory during the sweep"):
        store.check_directory()


@pytest.mark.parametrize("error", [errno.EMFILE, errno.ESTALE, errno.EIO])
def test_nobody_is_told_to_delete_a_record_that_the_system_cannot_read_now(error, store, monkeypatch):
    store.write(done(config()))
    monkeypatch.setattr(Path, "read_bytes", Mock(side_effect=OSError(error, os.strerror(error))))
    for read in (lambda: store.entry(config().run_id), lambda: read_record(store.directory / config().run_id)):
        with pytest.raises((ConfigError, RecordError), match=os.strerror(error).lower()) as raised:
            read()
        assert "delete" not in str(raised.value).replace(str(store.directory), "")
