import json
import re
from pathlib import Path
from typing import Any

import pytest

from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.runs.record import failed
from fedprompt.benchmark.runs.store import Store
from fedprompt.results.errors import RecordError
from fedprompt.results.records import frames as records
from fedprompt.results.records.identity import contradiction
from tests.benchmark.conftest import config


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """The result.json of a run that the program wrote."""
    store = Store(tmp_path / "runs")
    store.prepare()
    return store.write(failed(config(), "it broke")) / "result.json"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"run_id": "0" * 16}, "says it is run '0000000000000000', and lies in the directory of"),
        ({"method": "pep-fedpt"}, "says method 'pep-fedpt', and its configuration 'head'"),
        ({"seed": 7}, "says seed '7'"),
        ({"config": {"lr": 1.0}}, "configuration that is not the one its directory is named by"),
        ({"config": None}, "configuration"),
        ({"config": {"dataset": ...}}, "holds a configuration without a data set"),
        ({"partition": []}, "holds no text as its partition"),
        ({"seed": "0"}, "holds no whole number as its seed"),
        ({"environment": [1]}, "holds no facts in environment"),
        ({"environment": {"git_commit": []}}, "holds something else than texts in environment"),
        ({"metrics": True}, "holds something else than numbers in metrics"),
        ({"metrics": {"seen": [0.5]}}, "holds something else than numbers in metrics"),
        ({"metrics_prior": {"seen": {"mean": "0.5"}}}, "holds something else than numbers in metrics_prior"),
        ({"seconds": {"total": 10**400}}, "holds something else than numbers in seconds"),
        ({"by_class": {"gate": [[0.5], 3]}}, "holds something else than numbers in by_class"),
    ],
)
def test_a_record_that_was_changed_is_refused_with_its_name(change: dict[str, Any], told: str, record: Path) -> None:
    whole = json.loads(record.read_text())
    if isinstance(change.get("config"), dict):
        merged = whole["config"] | change["config"]
        change = {"config": {key: value for key, value in merged.items() if value is not ...}}
    record.write_text(json.dumps(whole | change))
    with pytest.raises(ConfigError, match=re.escape(str(record)) + ".*" + re.escape(told)):
        Store(record.parents[1]).entries()
    with pytest.raises(RecordError, match=re.escape(str(record))):
        records.load(record.parents[1])


def test_a_record_in_the_directory_of_another_run_is_refused(record: Path) -> None:
    record.parent.rename(record.parent.with_name("f" * 16))
    with pytest.raises(ConfigError, match=r"f{16}.result\.json was changed"):
        Store(record.parents[1]).entries()


def test_where_and_how_a_run_is_computed_may_differ(record: Path) -> None:
    whole = json.loads(record.read_text())
    whole["config"] |= {"device": "cuda", "executor": "fused", "data_root": "/else/where"}
    assert contradiction(whole, record.parent.name) is None
