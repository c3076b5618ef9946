import pytest

from benchmark.estimate import estimate, resident_mb
from benchmark.runner import execute
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
