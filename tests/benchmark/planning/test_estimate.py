import pytest

from fedprompt.benchmark.planning.estimate import estimate, resident_mb
from fedprompt.benchmark.runs.execute import execute
from tests.benchmark.conftest import config

WITH_INITIAL_STATISTICS = ("pep-fedpt", "pep-fedpt+scaffold")


@pytest.mark.parametrize(
    "method", ["fedvpt", "fedper", "local", "head+fedavgm", "head+scaffold", "fedncm", *WITH_INITIAL_STATISTICS]
)
def test_estimated_traffic_is_the_traffic_of_the_run(method, small_data):
    run = config(methods=(method,), rounds=3, datasets=(small_data,), clients=5, participation=0.5)
    estimated, measured = estimate(run), execute(run).result["communication"]
    assert (estimated.upload_bytes, estimated.download_bytes) == (measured["upload_bytes"], measured["download_bytes"])
    assert estimated.seconds > 0


def test_resident_memory_is_in_megabytes():
    assert 100 < resident_mb() < 1e5


@pytest.mark.parametrize(
    ("validation", "adapt", "images"),
    [
        (0.0, 0, 71 * (16 + 4)),  # 16 seen and 4 held-out clients
        (0.5, 0, 35 * (16 + 16 + 4)),  # seen clients twice, for their validation samples
        (0.0, 9, 71 * 16),  # held-out clients train for 9 epochs instead of fine-tuning
    ],
)
def test_estimated_time_includes_fine_tuning_before_evaluations(validation, adapt, images, monkeypatch):
    monkeypatch.setattr(
        "fedprompt.benchmark.planning.estimate._timed", lambda call: 48.0
    )  # one second per image of three timed batches

    def estimated(epochs):
        fields = (f"fedbabu.tune_epochs={epochs}",)
        return estimate(config(methods=("fedbabu",), validation=validation, adapt_epochs=adapt, set=fields)).seconds

    assert estimated(3) - estimated(1) == pytest.approx(2 * images)
