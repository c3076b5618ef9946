from pathlib import Path

import pytest

from fedprompt.benchmark.backbone.weights import EMBEDDED
from fedprompt.benchmark.frameworks.job import Plan, build

PLAN = Plan(EMBEDDED, images=6, tests=3, cohort=2, rounds=3, epochs=2, batch_size=64)
"""One batch holds all of a client's images, so that no result depends on their order."""


@pytest.fixture(scope="session")
def job_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job of four clients, small enough to train in a moment."""
    return build(PLAN, clients=4, seed=0, threads=1, folder=tmp_path_factory.mktemp("peers"))
