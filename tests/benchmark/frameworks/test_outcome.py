import pytest

from fedprompt.benchmark.frameworks import ours
from fedprompt.benchmark.frameworks.outcome import Outcome, main


def test_an_outcome_is_read_as_it_was_written(tmp_path):
    outcome = Outcome([1.0, 2.0], 0.5, [1.5], {"torch": "2"})
    outcome.write(tmp_path / "outcome.json")
    assert Outcome.read(tmp_path / "outcome.json") == outcome


def test_the_time_of_a_round_is_the_median_without_the_first():
    assert Outcome([0.0, 9.0, 10.0, 12.0, 15.0], 0.5).round_seconds == 2.0  # of 1, 2 and 3
    assert Outcome([0.0, 9.0], 0.5).round_seconds == 9.0


def test_the_clock_is_read_before_the_first_round_and_after_each(job_file):
    marks = ours.run(job_file).marks
    assert len(marks) == 4
    assert marks == sorted(marks)


def test_a_framework_is_run_by_name(job_file, tmp_path):
    main("plain", str(job_file), str(tmp_path / "plain.json"))
    assert 0 <= Outcome.read(tmp_path / "plain.json").accuracy <= 1
    with pytest.raises(ModuleNotFoundError):
        main("nobody", str(job_file), str(tmp_path / "nobody.json"))
