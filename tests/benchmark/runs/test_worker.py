import numpy as np
import pytest

from fedprompt.benchmark.runs import failures
from fedprompt.benchmark.runs import worker as attempt
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
        (DataError("there is no digits"), failures.NO_DATA, "DataError: there is no digits"),
    ],
)
def test_an_error_becomes_a_row_with_its_kind_its_cause_in_a_line_and_its_traceback(
    error: Exception, kind: str, line: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: object) -> None:
        raise error

    monkeypatch.setattr(attempt, "execute", breaks)
    finished = run_task(RunTask(config()), 1, lambda *_: None)
    result = finished.record.result
    assert (result["status"], result["error_kind"]) == ("failed", kind)
    assert "\n" not in result["error"]
    assert line is None or result["error"] == line
    assert "Traceback" in finished.log
    assert "in breaks" in finished.log


def test_progress_tells_rounds_and_images() -> None:
    told: list[tuple[int, int]] = []
    run = config(rounds=2)
    record = run_task(RunTask(run), 1, lambda *news: told.append(news)).record
    assert record.result["error_kind"] is None
    assert [number for number, _ in told] == [0, 1, 2]
    images = [count for _, count in told]
    assert images[0] == 0
    assert np.all(np.diff(images) > 0)


def test_ray_s_errors_have_their_kinds() -> None:
    from ray import exceptions

    assert failures.kind(exceptions.WorkerCrashedError()) == failures.WORKER_KILLED
    assert failures.kind(exceptions.OutOfMemoryError("killed")) == failures.OUT_OF_MEMORY
    assert failures.kind(exceptions.NodeDiedError("gone")) == failures.NODE_LOST
    assert failures.kind(exceptions.LocalRayletDiedError()) == failures.NODE_LOST


def test_each_lack_of_memory_halves_the_fused_clients() -> None:
    runs = [run_task(RunTask(config(participation=1.0, executor="fused"), 1, n), 1, lambda *_: None) for n in (0, 1, 9)]
    facts = [run.record.result["executor"] for run in runs]
    assert [fact["fused_clients"] for fact in facts] == [16, 8, 1]  # of 16 seen clients
    assert facts[0]["notes"] == []
    assert facts[1]["notes"] == ["out of memory in an earlier attempt: 8 clients a pass instead of 16"]
