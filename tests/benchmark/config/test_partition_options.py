import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fedprompt.benchmark.config.options import options
from fedprompt.benchmark.runs import execute as runner
from fedprompt.benchmark.runs.record import failed
from fedprompt.data.errors import DataError
from tests.benchmark.conftest import config, configs


def lists(path, step=4):
    """Index lists of 4 clients of the digits, in a file."""
    train, test = ([list(range(k, 40, step)) for k in range(4)] for _ in range(2))
    path.write_text(json.dumps({"train": train, "test": test}))
    return str(path)


def test_run_has_the_defaults_of_its_partition_only():
    run = config()
    assert (run.partition, run.alpha, run.sizes, run.held_out) == ("dirichlet", 0.5, "equal", 0.2)
    assert (run.classes_per_client, run.min_samples, run.partition_hash) == (None, None, None)
    run = config(partition="pathological")
    assert (run.alpha, run.sizes, run.classes_per_client) == (None, None, 2)


def test_explicit_defaults_keep_the_run_id():
    assert config().run_id == config(partition="dirichlet", sizes="equal", alpha=(0.5,), held_out="0.2").run_id


@pytest.mark.parametrize(
    "changed",
    [
        {"validation": 0.1},
        {"sizes": "lognormal"},
        {"sizes": "lognormal", "size_sigma": 0.3},
        {"held_out": 2},
        {"partition": "pathological"},
        {"partition": "pathological", "classes_per_client": 3},
        {"partition": "quantity"},
        {"partition": "iid"},
    ],
)
def test_every_partition_option_changes_the_run_id(changed):
    others = [{}, {"sizes": "lognormal", "size_sigma": 2.0}, {"partition": "dirichlet-class"}]
    assert config(**changed).run_id not in {config(**other).run_id for other in others}


def test_held_out_is_a_number_or_a_domain():
    assert config(held_out="1").held_out == 1.0
    assert config(held_out="photo").held_out == "photo"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"partition": "iid", "alpha": (0.5,)}, "--alpha 0.5 has no effect with --partition iid: remove one"),
        ({"partition": "quantity", "sizes": "equal"}, "--sizes equal has no effect with --partition quantity"),
        ({"min_samples": 3}, "--min-samples 3 has no effect with --partition dirichlet"),
        ({"alpha": (0.5, 0.0)}, "--alpha 0 is not in 1e-06 to 1e+06"),
        ({"clients": 4, "held_out": "4"}, "--held-out 4 leaves no client to train"),
        ({"partition": "dirichlt"}, "unknown partition 'dirichlt'; did you mean 'dirichlet'?"),
    ],
)
def test_option_without_effect_or_out_of_range_is_refused(given, message):
    with pytest.raises(DataError, match=re.escape(message)):
        configs(**given)


def test_partition_file_is_identified_by_its_content(tmp_path):
    first, moved = lists(tmp_path / "a.json"), lists(tmp_path / "b.json")
    given: dict[str, Any] = {"methods": ("head",), "seeds": (0,)}
    one, same, other = (
        options(given | {"partition_file": file}).grid()[0] for file in (first, moved, lists(tmp_path / "c.json", 5))
    )
    assert (one.partition, one.clients, one.alpha) == ("file", None, None)
    assert one.run_id == same.run_id != other.run_id
    assert [client.train[0] for client in runner.federation(one).clients] == [0, 1, 2, 3]
    assert failed(one, "").result["partition"] == f"file({(one.partition_hash or '')[:8]})"
    with pytest.raises(DataError, match=r"--partition-file .*a\.json has no effect with --partition iid"):
        options(given | {"partition_file": first, "partition": "iid"}).grid()


def test_other_partition_drops_the_partition_options_of_a_preset(tmp_path):
    (tmp_path / "p.yaml").write_text("alpha: [0.1]\nclients: 7\nsizes: lognormal\nrounds: 3\nvalidation: 0.1\n")

    def chosen(**given):
        return options({"methods": ("head",), "seeds": (0,)} | given, str(tmp_path / "p.yaml")).grid()[0]

    assert (chosen().alpha, chosen().clients, chosen().sizes) == (0.1, 7, "lognormal")
    iid = chosen(partition="iid")
    assert (iid.alpha, iid.clients, iid.sizes, iid.rounds, iid.validation) == (None, 7, None, 3, 0.1)
    assert chosen(partition_file=lists(tmp_path / "a.json")).clients is None


def test_clients_tested_on_training_images_are_scored_on_those(monkeypatch):
    digits = runner.dataset(config())
    owners = np.arange(len(digits.train_y)) % 6
    own = replace(digits, train_clients=owners, client_names=tuple("abcdef"))
    monkeypatch.setattr(runner, "dataset", lambda _: own)
    run = runner.simulator(config(partition="natural", clients=4))
    assert run.context.test is run.context.train
    assert run.context.federation.test_part == "train"
    run = runner.simulator(config())
    assert run.context.test is not run.context.train
