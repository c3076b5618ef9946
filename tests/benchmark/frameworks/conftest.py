import pytest

from fedprompt.benchmark.backbone.weights import EMBEDDED
from fedprompt.benchmark.frameworks.plan import Plan, build

PLAN = Plan(EMBEDDED, images=6, tests=3, cohort=2, rounds=3, epochs=2, batch_size=64)
"""One batch contains all images of a client, so results do not depend on their order."""


@pytest.fixture(scope="session")
def job_file(tmp_path_factory):
    """A job of four clients that trains in less than a second."""
    return build(PLAN, clients=4, seed=0, threads=1, folder=tmp_path_factory.mktemp("frameworks"))
