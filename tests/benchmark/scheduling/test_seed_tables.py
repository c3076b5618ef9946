import pytest

from fedprompt.benchmark.scheduling.progress import ProgressListener
from fedprompt.benchmark.scheduling.seed_tables import SeedTables
from fedprompt.results.errors import RecordError
from tests.benchmark.conftest import configs

DONE, FAILED = {"status": "done"}, {"status": "failed"}


class Listener(ProgressListener):
    """Records the runs and messages that reach it, in order."""

    def __init__(self):
        self.heard = list[str]()

    def run_done(self, run_id, result):
        self.heard.append(run_id)

    def note(self, text):
        self.heard.append(text)


class Saved(list[tuple[set[str], str]]):
    """The run ids and the label of each saved table."""

    def __call__(self, run_ids, label):
        self.append((set(run_ids), label))
        return f"table {len(self)}"


def ids(runs, *seeds):
    return {run.run_id for run in runs if run.seed in seeds}


def ended(tables, runs, result=DONE):
    for run in runs:
        tables.run_done(run.run_id, result)


@pytest.fixture
def listener():
    return Listener()


@pytest.fixture
def saved():
    return Saved()


@pytest.fixture
def runs():
    """Two methods with seeds 3, 1 and 2, by seed."""
    return sorted(configs(methods=("head", "fedvpt"), seeds=(3, 1, 2)), key=lambda run: (3, 1, 2).index(run.seed))


def test_a_table_follows_the_last_run_of_each_seed_but_the_last(listener, saved, runs):
    tables = SeedTables(listener, runs, runs, saved)
    ended(tables, runs)
    assert saved == [(ids(runs, 3), "1 of 3 seeds"), (ids(runs, 3, 1), "2 of 3 seeds")]
    told = [run.run_id for run in runs]
    assert listener.heard == [
        *told[:2], "1 of 3 seeds:\n\ntable 1", *told[2:4], "2 of 3 seeds:\n\ntable 2", *told[4:],
    ]  # fmt: skip


def test_a_single_seed_has_no_table_before_the_end(listener, saved, runs):
    only = [run for run in runs if run.seed == 1]
    ended(SeedTables(listener, only, only, saved), only)
    assert saved == []


def test_a_seed_is_complete_when_its_runs_have_failed(listener, saved, runs):
    ended(SeedTables(listener, runs, runs, saved), runs[:2], FAILED)
    assert saved == [(ids(runs, 3), "1 of 3 seeds")]


def test_a_table_has_only_complete_seeds_whichever_completes_first(listener, saved, runs):
    tables = SeedTables(listener, runs, runs, saved)
    ended(tables, [runs[0], runs[4], runs[2], runs[3]])
    assert saved == [(ids(runs, 1), "1 of 3 seeds")]
    ended(tables, [runs[5]])
    assert saved[1:] == [(ids(runs, 1, 2), "2 of 3 seeds")]


def test_a_resumed_sweep_repeats_no_table(listener, saved, runs):
    ended(SeedTables(listener, runs, runs[3:], saved), runs[3:])
    assert saved == [(ids(runs, 3, 1), "2 of 3 seeds")]


def test_many_seeds_have_a_first_table_and_then_about_ten(listener, saved):
    runs = configs(seeds=tuple(range(45)))
    ended(SeedTables(listener, runs, runs, saved), runs)
    assert [label for _, label in saved] == [f"{n} of 45 seeds" for n in (1, 5, 10, 15, 20, 25, 30, 35, 40)]


def test_a_run_that_the_grid_contains_twice_counts_once(listener, saved, runs):
    tables = SeedTables(listener, [runs[0], *runs], [runs[0], *runs], saved)
    ended(tables, [runs[0], *runs[:2], runs[0]])
    assert saved == [(ids(runs, 3), "1 of 3 seeds")]


@pytest.mark.parametrize("error", [OSError("disk full"), RecordError("changed")])
def test_a_table_that_cannot_be_saved_does_not_end_the_sweep(listener, runs, error):
    def broken(run_ids, label):
        raise error

    ended(SeedTables(listener, runs, runs, broken), runs[:3])
    assert listener.heard[2] == f"no table of 1 of 3 seeds: {error}"
    assert listener.heard[3] == runs[2].run_id
