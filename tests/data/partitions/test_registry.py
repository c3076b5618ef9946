import numpy as np
import pytest

from fedprompt.data.errors import DataError
from fedprompt.data.federation import PartitionSettings, build
from fedprompt.data.partitions import registry as partition_kinds
from fedprompt.data.partitions.assignment import Assignment
from fedprompt.data.partitions.registry import partition
from tests.data.toy import balanced, stream


@pytest.fixture
def _halves():
    @partition("halves", extra_options={})
    def halves(dataset, rng, *, min_samples, alpha=3.0):
        """The first half and the second."""
        assert (min_samples, alpha) == (2, 3.0)
        train, test = (np.array_split(np.arange(len(y)), 2) for y in (dataset.train_y, dataset.test_y))
        return Assignment(train, test, None, [None, None])

    yield
    del partition_kinds._kinds["halves"]


@pytest.mark.usefixtures("_halves")
def test_a_decorated_function_is_a_partition_and_its_keywords_are_its_options():
    with pytest.raises(DataError, match="--min-samples is missing: --partition halves needs it"):
        PartitionSettings("halves")
    settings = PartitionSettings("halves", min_samples=2)
    assert settings.alpha == 3.0
    with pytest.raises(DataError, match="--clients 4 has no effect with --partition halves"):
        PartitionSettings("halves", min_samples=2, clients=4)
    federation = build(balanced(4, 2, 2), settings, stream(0))
    assert [client.train.tolist() for client in federation.clients] == [[0, 1], [2, 3]]
    assert partition_kinds.find("halves").description == "The first half and the second."
