"""Small runs by the Python functions."""

import pytest


@pytest.fixture
def small(small_data, tmp_path, monkeypatch):
    """Options of a run of a fraction of a second, in an empty directory."""
    monkeypatch.chdir(tmp_path)
    return {"alpha": 0.3, "clients": 6, "rounds": 2, "eval_every": 1, "precision": "fp32", "progress": False}


@pytest.fixture
def data(small_data):
    """The data set of such a run."""
    return small_data
