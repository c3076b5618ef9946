import math

from fedprompt.benchmark.runs.execute import execute
from tests.benchmark.conftest import config


def test_each_evaluation_scores_the_validation_samples_and_the_last_is_the_result():
    record = execute(config(validation=0.2, rounds=3, eval_every=2))
    scores = [row.get("validation_mean", math.nan) for row in record.rounds]
    assert [not math.isnan(score) for score in scores] == [True, False, True, True]
    assert scores[-1] == record.result["metrics"]["validation"]["mean"]


def test_without_validation_samples_there_is_no_validation_score():
    record = execute(config())
    assert "validation" not in record.result["metrics"]
    assert all("validation_mean" not in row for row in record.rounds)
