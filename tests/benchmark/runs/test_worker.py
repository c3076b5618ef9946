import numpy as np
import pytest

from fedprompt.benchmark.runs import failures, worker
from fedprompt.benchmark.runs.worker import RunTask, run_task
from fedprompt.data.errors import DataError
from tests.benchmark.conftest import config


@pytest.mark.parametrize(
    ("error", "kind", "line"),
    [
        (ZeroDivisionError("by zero\nand more"), failures.EXCEPTION, "ZeroDivisionError: by zero"),
        (FloatingPointError("not finite"), failures.NOT_FINITE, "FloatingPointError: not finite"),
        (MemoryError(), failures.OUT_OF_MEMORY, "MemoryError"),
        (RuntimeError("[enforce fail] can't allocate memory"), failures.OUT_OF_MEMORY, None),
        (OSError(28, "No space left on device"), failures.DISK_FULL, "OSError: [Errno 28] No space left on device"),
        (OSError(13, "Permission denied"), failures.EXCEPTION, None),
        (DataError("digits is missing"), failures.NO_DATA, "DataError: digits is missing"),
    ],
)
def test_an_error_becomes_a_record_with_its_kind_and_summary_and_its_traceback_the_log(error, kind, line, monkeypatch):
    def breaks(*_):
        raise error

    monkeypatch.setattr(worker, "execute", breaks)
    failed = run_task(RunTask(config()), 1, lambda *_: None)
    result = failed.record.result
    assert (result["status"], result["error_kind"]) == ("failed", kind)
    assert "\n" not in result["error"]
    assert line is None or result["error"] == line
    assert "Traceback" in failed.log
    assert "in breaks" in failed.log


def test_progress_reports_rounds_and_images():
    reports: list[tuple[int, int, dict]] = []
    run = config(rounds=2)
    record = run_task(RunTask(run), 1, lambda *report: reports.append(report)).record
    assert record.result["error_kind"] is None
    assert [number for number, *_ in reports] == [row["round"] for *_, row in reports] == [0, 1, 2]
    images = [count for _, count, _ in reports]
    assert images[0] == 0
    assert np.all(np.diff(images) > 0)


def test_errors_of_ray_have_kinds():
    from ray import exceptions

    assert failures.kind(exceptions.WorkerCrashedError()) == failures.WORKER_KILLED
    assert failures.kind(exceptions.OutOfMemoryError("killed")) == failures.OUT_OF_MEMORY
    assert failures.kind(exceptions.NodeDiedError("gone")) == failures.NODE_LOST
    assert failures.kind(exceptions.LocalRayletDiedError()) == failures.NODE_LOST


def test_each_out_of_memory_error_halves_the_fused_clients():
    runs = [run_task(RunTask(config(participation=1.0, executor="fused"), 1, n), 1, lambda *_: None) for n in (0, 1, 9)]
    facts = [run.record.result["executor"] for run in runs]
    assert [fact["fused_clients"] for fact in facts] == [16, 8, 1]  # of 16 seen clients
    assert facts[0]["notes"] == []
    assert facts[1]["notes"] == ["out of memory in an earlier attempt: 8 clients per pass instead of 16"]
