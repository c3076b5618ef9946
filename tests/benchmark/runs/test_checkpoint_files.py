import errno
import json
import logging
import os
import shutil
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import pandas as pd
import pytest

from fedprompt.benchmark.runs.checkpoint import unpack
from fedprompt.benchmark.runs.checkpoint_files import UNUSABLE, CheckpointFiles
from fedprompt.benchmark.runs.checkpointer import Checkpoints
from fedprompt.benchmark.runs.execute import execute
from fedprompt.benchmark.runs.record import failed
from fedprompt.benchmark.runs.store import CHECKPOINT, Store
from tests.benchmark.conftest import config

ROUNDS = 4


class _PowerCutError(BaseException):
    pass


@pytest.fixture
def run_of(small_data):
    """A function that gives a run of four rounds on five clients; keywords are options."""
    fixed = {"methods": ("fedper",), "rounds": ROUNDS, "eval_every": 2, "executor": "sequential"}
    return partial(config, **fixed, datasets=(small_data,), clients=5, participation=0.5)


@pytest.fixture
def run(run_of):
    return run_of()


def cut_after(number):
    def progress(reached, *_):
        if reached == number:
            raise _PowerCutError

    return progress


def cut(run, store, rounds):
    """Executes a run several times, interrupted after each of these rounds in turn."""
    for number in rounds:
        with pytest.raises(_PowerCutError):
            execute(run, 1, cut_after(number), checkpoints=CheckpointFiles(store, 0).of(run.run_id))


def measured(record):
    """Returns the content of a record without times and hosts."""
    aside = ("seconds", "when", "images_per_second")
    result = {key: value for key, value in record.result.items() if key not in aside}
    rounds = [{k: v for k, v in row.items() if k != "seconds"} for row in record.rounds]
    return json.dumps([result, rounds, record.clients])


def files(store, run):
    return sorted(path.name for path in (store.directory / run.run_id).iterdir())


def test_a_run_that_is_interrupted_several_times_has_the_record_of_an_uninterrupted_one(run, store):
    cut(run, store, (0, 1, 3))
    assert files(store, run) == [CHECKPOINT]
    assert store.entries() == []
    assert store.pending([run]) == [run]
    record = execute(run, 1, checkpoints=CheckpointFiles(store, 0).of(run.run_id))
    assert measured(record) == measured(execute(run))
    assert [again["after_round"] for again in record.result["when"]["resumed"]] == [0, 1, 3]
    store.write(record)
    assert CHECKPOINT not in files(store, run)


def test_a_copied_directory_can_be_resumed(run, store, tmp_path):
    cut(run, store, (2,))
    shutil.copytree(store.directory, tmp_path / "else" / "where")
    other = CheckpointFiles(Store(tmp_path / "else" / "where"))
    record = execute(run, 1, checkpoints=other.of(run.run_id))
    assert [again["after_round"] for again in record.result["when"]["resumed"]] == [2]
    assert measured(record) == measured(execute(run))


def test_a_short_run_writes_no_checkpoint(run):
    kept: list[bytes] = []
    execute(run, 1, checkpoints=Checkpoints(None, kept.append, 3600))
    assert kept == []
    execute(run, 1, checkpoints=Checkpoints(None, kept.append, 0))
    assert [unpack(content, run.run_id)[0].round for content in kept] == [0, 1, 2, 3]  # the last is the record


def test_a_checkpoint_that_is_wanted_is_saved_before_it_is_due(run):
    kept: list[bytes] = []
    wanted = iter([False, True, False, False])
    execute(run, 1, checkpoints=Checkpoints(None, kept.append, 3600, lambda: next(wanted)))
    assert [unpack(content, run.run_id)[0].round for content in kept] == [1]


def test_the_next_attempt_at_a_failed_run_resumes_from_its_checkpoint(run, store):
    cut(run, store, (1,))
    store.write(failed(run, "WorkerDied: killed"))
    assert CHECKPOINT in files(store, run)
    record = execute(run, 1, checkpoints=CheckpointFiles(store).of(run.run_id))
    assert [again["after_round"] for again in record.result["when"]["resumed"]] == [1]


def test_a_late_checkpoint_of_a_finished_run_is_not_saved(run, store):
    store.write(execute(run))
    CheckpointFiles(store).save(run.run_id, b"late")
    assert CHECKPOINT not in files(store, run)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda whole: whole[:-9], "is truncated or no checkpoint"),
        (lambda whole: whole[:-1] + bytes([whole[-1] ^ 255]), "was changed after it was written"),
        (lambda whole: b"", "is truncated or no checkpoint"),
    ],
)
def test_a_damaged_checkpoint_is_logged_and_renamed(spoil, reason, run, store, caplog):
    cut(run, store, (1,))
    path = store.directory / run.run_id / CHECKPOINT
    path.write_bytes(spoil(path.read_bytes()))
    with caplog.at_level(logging.WARNING):
        assert CheckpointFiles(store).load(run.run_id) is None
    assert caplog.messages == [f"{path} {reason}; it is renamed to {UNUSABLE}, and the run starts over"]
    assert files(store, run) == [UNUSABLE]


def test_the_checkpoint_of_another_run_is_renamed(run, run_of, store, caplog):
    other = run_of(lr=0.02)
    cut(run, store, (1,))
    shutil.copytree(store.directory / run.run_id, store.directory / other.run_id)
    assert CheckpointFiles(store).load(other.run_id) is None
    assert f"belongs to another run, {run.run_id}" in caplog.text


def test_a_checkpoint_of_other_code_is_logged_and_the_run_starts_over(run, store, caplog, monkeypatch):
    cut(run, store, (1,))
    monkeypatch.setattr("fedprompt.benchmark.runs.checkpoint.code_hash", lambda _: "changed")
    record = execute(run, 1, checkpoints=CheckpointFiles(store).of(run.run_id))
    assert record.result["when"]["resumed"] == []
    assert f"the checkpoint of run {run.run_id} was written by other code" in caplog.text


def test_on_a_full_disk_a_run_continues_without_checkpoints(run, store, caplog, monkeypatch):
    monkeypatch.setattr(Path, "write_bytes", Mock(side_effect=OSError(28, "No space left on device")))
    record = execute(run, 1, checkpoints=CheckpointFiles(store, 0).of(run.run_id))
    assert record.result["status"] == "done"
    assert "cannot save a checkpoint of run" in caplog.text
    assert files(store, run) == []


def test_the_rows_of_a_resumed_run_equal_those_of_an_uninterrupted_one(run, store):
    cut(run, store, (2,))
    place = store.write(execute(run, 1, checkpoints=CheckpointFiles(store).of(run.run_id)))
    undisturbed = Store(store.directory.parent / "other")
    undisturbed.prepare()
    expected = undisturbed.write(execute(run))
    for name in ("rounds.parquet", "clients.parquet"):
        found, wanted = (pd.read_parquet(folder / name) for folder in (place, expected))
        pd.testing.assert_frame_equal(
            found.drop(columns="seconds", errors="ignore"),
            wanted.drop(columns="seconds", errors="ignore"),
            check_exact=True,
        )


def test_an_unusable_checkpoint_that_cannot_be_renamed_does_not_end_the_sweep(tmp_path, monkeypatch, caplog):
    place = tmp_path / "run"
    place.mkdir()
    (place / CHECKPOINT).write_bytes(b"half a checkpo")
    monkeypatch.setattr(os, "replace", Mock(side_effect=OSError(errno.EIO, "Input/output error")))
    assert CheckpointFiles(Store(tmp_path)).load("run") is None
    assert "the run starts over" in caplog.text
