from typing import Literal

from fedprompt.benchmark.config.run_config import RunConfig
from fedprompt.benchmark.runs import reproduce
from fedprompt.benchmark.runs.store import Entry
from tests.benchmark.conftest import config


def test_an_older_run_is_repeated_with_what_was_the_default_then(monkeypatch):
    class WithOtherDefaults(RunConfig):
        head_init: Literal["random", "zero", "ncm", "ridge"] = "zero"

    monkeypatch.setattr(reproduce, "RunConfig", WithOtherDefaults)
    older = config().model_dump(mode="json")
    del older["head_init"]
    again = reproduce.config_of(Entry(config().run_id, "done", {"config": older}), ())
    assert (again.head_init, again.run_id) == ("random", config().run_id)
