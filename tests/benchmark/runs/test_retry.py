import json
from typing import Literal

import pytest

from fedprompt.benchmark.config.run_config import RunConfig
from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.runs import retry
from fedprompt.benchmark.runs.record import failed
from fedprompt.benchmark.runs.retry import failed_runs
from fedprompt.benchmark.runs.store import Store
from tests.benchmark.conftest import config, configs


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path)
    store.write(failed(config(), "it broke"))
    return store


def test_failed_runs_are_returned_with_their_configuration(store):
    run = config(methods=("pep-fedpt+fedprox",), set=("fedprox.mu=0.5",))
    store.write(failed(run, "it broke"))
    assert sorted(failed_runs(store), key=lambda c: c.run_id) == sorted([run, config()], key=lambda c: c.run_id)


def test_finished_runs_are_not_returned(store):
    record = failed(configs(seeds=(7,))[0], "")
    record.result["status"] = "done"
    store.write(record)
    assert failed_runs(store) == [config()]


@pytest.mark.parametrize("change", [{"lr": 0.123}, {"seed": 9}, {"versions": {"head": 99}}])
def test_a_changed_configuration_is_rejected(change, store):
    path = store.directory / config().run_id / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ConfigError, match=f"{path} was changed"):
        failed_runs(store)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"lr": "word"}', '{"unknown": 1}'])
def test_an_invalid_configuration_is_rejected(text, store):
    path = store.directory / config().run_id / "config.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=f"{path} .*; delete its directory"):
        failed_runs(store)


def test_a_plug_in_is_only_used_if_the_user_names_it(store):
    path = store.directory / config().run_id / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"plugins": ["/theirs/own.py"]}))
    with pytest.raises(ConfigError, match=r"needs a plug-in: name it with --plugin /theirs/own\.py"):
        failed_runs(store)
    (run,) = failed_runs(store, ["/mine/own.py"])
    assert run.plugins == ("/mine/own.py",)
    assert run.run_id == config().run_id


def test_an_older_run_is_repeated_with_what_was_the_default_then(store, monkeypatch):
    class WithOtherDefaults(RunConfig):
        standardize: Literal["none", "features", "whiten"] = "whiten"

    first = config(standardize="none")
    store.write(failed(first, "it broke"))
    path = store.directory / first.run_id / "config.json"
    older = json.loads(path.read_text())
    del older["standardize"]
    path.write_text(json.dumps(older))
    monkeypatch.setattr(retry, "RunConfig", WithOtherDefaults)
    assert ("none", first.run_id) in {(run.standardize, run.run_id) for run in failed_runs(store)}
