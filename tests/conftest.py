"""Settings and fixtures of all tests."""

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)  # sums of one thread are reproducible, and small tensors need no more

settings.register_profile("untimed", deadline=None, database=None, derandomize=True)
settings.load_profile("untimed")


@pytest.fixture
def registry_tables():
    """Undoes registrations of methods and optimisers after the test."""
    from fedprompt.methods import registry

    registry.discover()
    tables = [(table, dict(table)) for table in (registry.METHODS, registry.OPTIMISERS, registry.BROKEN)]
    yield
    for table, known in tables:
        table.clear()
        table.update(known)


@pytest.fixture(scope="session", autouse=True)
def _private_cache(tmp_path_factory):
    """Tests neither read nor write the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("BENCH_DATA", raising=False)
        yield
