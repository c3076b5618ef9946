import pytest

from fedprompt.benchmark.planning import absent_data
from fedprompt.data import loading
from fedprompt.data.errors import DataError


@pytest.mark.parametrize(
    ("name", "known"), [("cifar100", True), ("tiny-imagenet", False), ("domainnet-345", False), ("pacs", False)]
)
def test_absent_data_set_has_an_identity(tmp_path, name, known):
    found = absent_data.identity(name, tmp_path)
    assert found == (loading.identity(name, tmp_path) if known else absent_data.ABSENT)


def test_other_faults_are_not_taken_for_absence(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        absent_data.identity("npz:none.npz", tmp_path)
    with pytest.raises(DataError, match="unknown data set"):
        absent_data.identity("cifar1000", tmp_path)
