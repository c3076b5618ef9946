import pytest

from fedprompt.benchmark.planning.estimate import estimate, resident_mb
from fedprompt.benchmark.runs.execute import execute
from tests.benchmark.conftest import config


@pytest.mark.parametrize("method", ["fedvpt", "fedper", "local", "head+fedavgm", "head+scaffold", "fedncm"])
def test_the_traffic_told_beforehand_is_the_traffic_of_the_run(method: str) -> None:
    run = config(methods=(method,), rounds=3)
    told, measured = estimate(run), execute(run).result["communication"]
    assert (told.upload_bytes, told.download_bytes) == (measured["upload_bytes"], measured["download_bytes"])
    assert told.seconds > 0


@pytest.mark.parametrize("method", ["pep-fedpt", "pep-fedpt+scaffold"])
def test_the_first_statistics_are_part_of_the_traffic_told(method: str) -> None:
    run = config(methods=(method,), rounds=3)
    told, measured = estimate(run), execute(run).result["communication"]
    assert (told.upload_bytes, told.download_bytes) == (measured["upload_bytes"], measured["download_bytes"])


def test_memory_is_that_of_a_process_with_torch_in_megabytes() -> None:
    assert 100 < resident_mb() < 1e5


@pytest.mark.parametrize(
    ("validation", "adapt", "images"),
    [
        (0.0, 0, 71 * (16 + 4)),  # all of the 16 seen and the 4 held-out clients
        (0.5, 0, 35 * (16 + 16 + 4)),  # the seen ones once more, for their validation samples
        (0.0, 9, 71 * 16),  # held-out ones train their 9 epochs in place of the method's
    ],
)
def test_fine_tuning_before_every_score_is_part_of_the_time_told(
    validation: float, adapt: int, images: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "fedprompt.benchmark.planning.estimate._timed", lambda call: 48.0
    )  # a second an image of three timed batches

    def told(epochs: int) -> float:
        own = (f"fedbabu.tune_epochs={epochs}",)
        return estimate(config(methods=("fedbabu",), validation=validation, adapt_epochs=adapt, set=own)).seconds

    assert told(3) - told(1) == pytest.approx(2 * images)
