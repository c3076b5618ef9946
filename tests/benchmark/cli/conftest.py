import pytest

from fedprompt.benchmark.runs import worker
from fedprompt.benchmark.runs.execute import execute
from fedprompt.benchmark.runs.record import failed
from fedprompt.benchmark.runs.store import Store
from fedprompt.results.figures import drawing
from tests.benchmark.conftest import configs


@pytest.fixture(scope="session")
def directory(tmp_path_factory):
    """A directory of two methods with two seeds, whose last run failed. Read only."""
    store = Store(tmp_path_factory.mktemp("kept") / "runs")
    store.prepare()
    runs = configs(methods=("head", "fedvpt"), seeds=(0, 1))
    for run in runs[:3]:
        store.write(execute(run))
    broken = failed(runs[3], "ZeroDivisionError: division by zero")
    store.write(broken, "Traceback ...")
    return store.directory


@pytest.fixture
def no_figures(monkeypatch):
    """Skips the figures of sweeps, which take longer than such small runs."""
    monkeypatch.setattr(drawing, "draw", lambda *_, **__: [])


@pytest.fixture
def executed(monkeypatch):
    """Ids of the runs that are executed."""
    real, ids = worker.execute, list[str]()
    monkeypatch.setattr(worker, "execute", lambda run, *rest: (ids.append(run.run_id), real(run, *rest))[1])
    return ids
