"""A function that hangs, raises or kills its process is reported, and what it reported before is kept."""

import pytest

from fedprompt.benchmark.gpu_check import supervisor as module
from fedprompt.benchmark.gpu_check.supervisor import Supervisor
from tests.benchmark.gpu_check import functions


@pytest.fixture(scope="module")
def supervisor():
    """Processes without the imports of the checks, which take long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PRELOADED", module.__name__)
        made = Supervisor()
        made.start()
        yield made


@pytest.mark.parametrize(
    ("function", "limit", "status", "report", "error"),
    [
        (functions.reports_and_ends, 60, "done", {"value": 3}, ""),
        (functions.reports_and_hangs, 5, "timed out", {"value": 7}, "not finished after 5 s"),
        (functions.reports_and_raises, 60, "failed", {"value": 7}, "ZeroDivisionError: by zero"),
        (functions.dies, 60, "died", {}, "its process ended with exit code 9"),
    ],
)
def test_each_ending_is_told_apart(supervisor, function, limit, status, report, error):
    outcome = supervisor.run(function, (3,), limit)
    assert (outcome.status, outcome.report, outcome.error) == (status, report, error)
    assert outcome.seconds < limit + 10
