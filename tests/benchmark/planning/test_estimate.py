import pytest

from fedprompt.benchmark.planning.estimate import estimate, resident_mb
from fedprompt.benchmark.runs.execute import execute
from tests.benchmark.conftest import config

WITH_INITIAL_STATISTICS = ("pep-fedpt", "pep-fedpt+scaffold")


@pytest.mark.parametrize(
    "method", ["fedvpt", "fedper", "local", "head+fedavgm", "head+scaffold", "fedncm", *WITH_INITIAL_STATISTICS]
)
def test_estimated_traffic_is_the_traffic_of_the_run(method, small_data, **options):
    run = config(methods=(method,), rounds=3, datasets=(small_data,), clients=5, participation=0.5, **options)
    estimated, measured = estimate(run), execute(run).result["communication"]
    assert (estimated.upload_bytes, estimated.download_bytes) == (measured["upload_bytes"], measured["download_bytes"])
    assert estimated.seconds > 0


@pytest.mark.parametrize("method", ["fedvpt", "fedper", "fedncm"])
@pytest.mark.parametrize(("standardize", "head_init"), [("whiten", "ncm"), ("features", "ridge")])
def test_estimated_traffic_includes_what_is_sent_once_before_round_1(method, standardize, head_init, small_data):
    prepared = {"standardize": standardize, "head_init": head_init}
    test_estimated_traffic_is_the_traffic_of_the_run(method, small_data, **prepared)


def test_resident_memory_is_in_megabytes():
    assert 100 < resident_mb() < 1e5


@pytest.mark.parametrize(
    ("validation", "method", "images"),
    [
        (0.0, "fedvpt", 71 * 20),  # 16 seen and 4 held-out clients, before their personalised scores
        (0.0, "fedbabu", 71 * (16 + 20)),  # 16 seen clients before they are scored, too
        (0.5, "fedbabu", 35 * (16 + 16 + 20)),  # and again before their validation samples
    ],
)
def test_estimated_time_includes_training_before_scores(validation, method, images, monkeypatch):
    monkeypatch.setattr(
        "fedprompt.benchmark.planning.estimate._timed", lambda call: 48.0
    )  # one second per image of three timed batches

    def estimated(epochs):
        options = {"validation": validation, "personal_epochs": epochs, "batch_size": 16}
        return estimate(config(methods=(method,), **options)).seconds

    assert estimated(3) - estimated(1) == pytest.approx(2 * images)


def test_the_first_rounds_stand_for_the_traffic_of_a_very_long_run(monkeypatch):
    exact = estimate(config(rounds=4, participation=1.0))
    monkeypatch.setattr("fedprompt.benchmark.planning.estimate.COUNTED_ROUNDS", 2)
    scaled = estimate(config(rounds=4, participation=1.0))  # with all clients in every round, rounds are equal
    assert (scaled.upload_bytes, scaled.download_bytes) == (exact.upload_bytes, exact.download_bytes)
