import json
import re

import pytest

from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.runs.record import failed
from fedprompt.benchmark.runs.store import Store
from fedprompt.results.errors import RecordError
from fedprompt.results.records import frames as records
from fedprompt.results.records.identity import contradiction
from tests.benchmark.conftest import config


@pytest.fixture
def record(tmp_path):
    """The result.json of a run, written by the program."""
    store = Store(tmp_path / "runs")
    store.prepare()
    return store.write(failed(config(), "it broke")) / "result.json"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"run_id": "0" * 16}, "has run id '0000000000000000', but its directory is"),
        ({"method": "pep-fedpt"}, "has method 'pep-fedpt', but its configuration has 'head'"),
        ({"seed": 7}, "has seed '7'"),
        ({"config": {"lr": 1.0}}, "a configuration with another run id"),
        ({"config": None}, "configuration"),
        ({"config": {"dataset": ...}}, "contains a configuration without a data set"),
        ({"config": {"settings": "0"}}, "contains something other than options of methods in settings"),
        ({"config": {"settings": {"head": 1}}}, "contains something other than options of methods in settings"),
        ({"config": {"plugins": 1}}, "contains something other than a list of texts in plugins"),
        ({"config": {"plugins": [1]}}, "contains something other than a list of texts in plugins"),
        ({"config": {"from_model": 1}}, "contains something other than text in from_model"),
        ({"config": {"checkpoint": [1]}}, "contains something other than text in checkpoint"),
        ({"partition": []}, "contains something other than text in partition"),
        ({"seed": "0"}, "contains something other than a whole number in seed"),
        ({"environment": [1]}, "contains something other than a mapping in environment"),
        ({"environment": {"git_commit": []}}, "contains something other than text in environment"),
        ({"metrics": True}, "contains something other than numbers in metrics"),
        ({"metrics": {"seen": [0.5]}}, "contains something other than numbers in metrics"),
        ({"metrics_prior": {"seen": {"mean": "0.5"}}}, "contains something other than numbers in metrics_prior"),
        ({"seconds": {"total": 10**400}}, "contains something other than numbers in seconds"),
        ({"by_class": {"gate": [[0.5], 3]}}, "contains something other than numbers in by_class"),
    ],
)
def test_a_changed_record_is_refused_with_its_path_and_the_reason(change, reason, record):
    whole = json.loads(record.read_text())
    if isinstance(change.get("config"), dict):
        merged = whole["config"] | change["config"]
        change = {"config": {key: value for key, value in merged.items() if value is not ...}}
    record.write_text(json.dumps(whole | change))
    with pytest.raises(ConfigError, match=re.escape(str(record)) + ".*" + re.escape(reason)):
        Store(record.parents[1]).entries()
    with pytest.raises(RecordError, match=re.escape(str(record))):
        records.load(record.parents[1])


def test_a_record_in_the_directory_of_another_run_is_refused(record):
    record.parent.rename(record.parent.with_name("f" * 16))
    with pytest.raises(ConfigError, match=r"f{16}.result\.json was changed"):
        Store(record.parents[1]).entries()


def test_options_that_do_not_affect_the_result_may_differ(record):
    whole = json.loads(record.read_text())
    whole["config"] |= {"device": "cuda", "executor": "fused", "data_root": "/else/where"}
    assert contradiction(whole, record.parent.name) is None
