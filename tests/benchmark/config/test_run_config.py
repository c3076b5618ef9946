import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest
import torch

from fedprompt.benchmark.config import run_config as module
from fedprompt.benchmark.config.options import options
from fedprompt.benchmark.config.run_config import RunConfig, workload_key
from fedprompt.results.records.identity import run_id as identity_of
from tests.benchmark.conftest import config, configs

RESULTS = Path(__file__).parents[3] / "results" / "published"
LATER = {"samples_per_client": 30, "optimizer": "adam", "standardize": "whiten", "head_init": "ncm", "eval_at": (1,)}
LATER |= {"lr_schedule": "cosine", "personal_lr_factor": 0.3}
"""Options that older records do not have, with values other than those that their runs had."""
EARLIER = {"rounds": 8, "eval_every": 4, "batch_size": 16, "standardize": "none", "precision": "fp32"}
EARLIER |= {"lr": 0.05, "lr_schedule": "constant"}
"""The defaults of version 0.3."""
CHANGES: list[dict[str, Any]] = [
    {"lr": 0.0123}, {"rounds": 77}, {"epochs": 5}, {"batch_size": 7}, {"momentum": 0.123}, {"weight_decay": 0.0123},
    {"participation": 1.0}, {"eval_every": 77}, {"clients": 11}, {"held_out": 3}, {"partition": "iid"},
    {"alpha": (0.1,)}, {"seeds": (1,)}, {"methods": ("fedvpt",)}, {"methods": ("head+fedprox",)}, {"image_size": 64},
    {"methods": ("head+la",)}, {"checkpoint": "random"}, {"personal_lr_factor": 0.3},
    {"samples_per_client": 30}, {"optimizer": "adam"},
    {"optimizer": "adamw"}, {"lr_schedule": "constant"}, {"personal_lr_factor": 0.3},
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_run_id_depends_on_everything_that_affects_the_result(change):
    assert config(**change).run_id != config().run_id


def test_field_of_a_method_changes_only_its_run_ids():
    both = {"methods": ("fedvpt", "head")}
    plain, changed = configs(**both), configs(**both, set=("fedvpt.tokens=5",))
    assert plain[0].run_id != changed[0].run_id
    assert plain[1].run_id == changed[1].run_id


def test_field_set_to_its_default_keeps_the_run_id():
    plain, spelled = (config(methods=("fedvpt",), set=s) for s in ((), ("fedvpt.tokens=10",)))
    assert plain.run_id == spelled.run_id


def test_fields_that_were_added_later_keep_the_published_run_ids():
    published = RESULTS / "embedded-default" / "runs.parquet"
    ids = pd.read_parquet(published, columns=["run_id", "method"]).query("method == 'pep-fedpt'")["run_id"]
    run = options({"methods": ("pep-fedpt",), "alpha": (0.05,), "seeds": (0,), "precision": "bf16"}).grid()[0]
    assert run.run_id in set(ids)
    assert run.settings["pep-fedpt"].items() >= {"class_lr": None, "depth_share": None}.items()
    for value in ("class_lr=0.1", "depth_share=0.5"):
        (changed,) = options(
            {"methods": ("pep-fedpt",), "alpha": (0.05,), "seeds": (0,), "set": (f"pep-fedpt.{value}",)}
        ).grid()
        assert changed.run_id not in set(ids)


def test_variant_has_the_settings_of_its_fields():
    variant, by_hand = (
        config(methods=("pep-fedpt:prior",)),
        config(methods=("pep-fedpt",), set=("pep-fedpt.mixing=prior",)),
    )
    assert variant.settings == by_hand.settings


@pytest.mark.parametrize("change", [{"device": "cuda"}, {"executor": "fused"}, {"data_root": "."}])
def test_run_id_does_not_depend_on_where_a_run_is_computed(change):
    assert config(**change).run_id == config().run_id


def test_unused_plugin_keeps_the_run_id(plugin):
    assert config(plugin=(str(plugin()),)).run_id == config().run_id


def test_version_of_a_method_changes_the_run_id(monkeypatch):
    from fedprompt.methods.head import Head

    before = config().run_id
    monkeypatch.setattr(Head, "version", 2)
    assert config().run_id != before


def test_record_format_changes_the_run_id(monkeypatch):
    before = config().run_id
    monkeypatch.setattr(module, "RECORD_FORMAT", 2)
    assert config().run_id != before


def npz(path, value=7):
    images, labels = np.full((12, 4, 4, 3), value, np.uint8), np.arange(12) % 3
    np.savez(path, train_x=images, train_y=labels, test_x=images, test_y=labels)
    return f"npz:{path}"


def test_run_id_depends_on_the_content_of_the_data_not_its_path(tmp_path):
    here, there, other = (
        config(datasets=(npz(tmp_path / n, v),)) for n, v in (("a.npz", 7), ("b.npz", 7), ("c.npz", 8))
    )
    assert here.dataset != there.dataset
    assert here.run_id == there.run_id != other.run_id


def test_run_id_depends_on_the_content_of_a_checkpoint_not_its_path(tmp_path):
    ids = []
    for name, value in (("a.pt", 1.0), ("b.pt", 1.0), ("c.pt", 2.0)):
        torch.save({"w": torch.full((2,), value)}, tmp_path / "same-name.pt")
        (tmp_path / "same-name.pt").rename(tmp_path / name)
        ids.append(config(checkpoint=str(tmp_path / name)).run_id)
    assert ids[0] == ids[1] != ids[2]


def test_run_id_is_a_documented_hash():
    import hashlib

    run = config(methods=("fedvpt",), standardize="none", lr_schedule="constant")
    content = json.loads(run.model_dump_json())
    for key in (
        "checkpoint",
        "data_root",
        "device",
        "executor",
        "from_hash",
        "from_model",
        "from_run",
        "partition_file",
        "plugins",
        *LATER,
        "beta1",
        "beta2",
        "eps",
    ):
        del content[key]
    text = json.dumps(content | {"record_format": 1}, sort_keys=True)
    assert run.run_id == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_run_ids_of_the_default_configuration_are_those_of_version_0_3():
    """Computed before the option --optimizer existed."""
    given = {"methods": ("head", "fedvpt"), "alpha": (0.5,), "seeds": (0,), **EARLIER}
    assert [run.run_id for run in options(given).grid()] == ["d8838a11d646b679", "d2a51921f7c5fc3a"]


def test_the_fields_of_adam_change_the_run_id():
    adam = config(optimizer="adam")
    assert adam.run_id == config(optimizer="adam", beta1=0.9, beta2=0.999, eps=1e-8).run_id
    changed = [config(optimizer="adam", **change).run_id for change in ({"beta1": 0.8}, {"beta2": 0.98}, {"eps": 1e-6})]
    assert len({adam.run_id, *changed}) == 4


def test_a_run_states_the_fields_of_its_own_optimizer_only():
    sgd, adam = config(), config(optimizer="adam", beta2=0.98)
    assert (sgd.optimizer, sgd.momentum, sgd.beta1, sgd.beta2, sgd.eps) == ("sgd", 0.9, None, None, None)
    assert (adam.optimizer, adam.momentum, adam.beta1, adam.beta2, adam.eps) == ("adam", None, 0.9, 0.98, 1e-8)


def test_later_options_keep_the_run_id_and_the_cost_of_older_records():
    now = config(**EARLIER)
    older = json.loads(now.model_dump_json())
    for name in (*LATER, "beta1", "beta2", "eps"):
        del older[name]
    assert RunConfig(**older).run_id == identity_of(older, 1) == now.run_id
    changed = {config(**EARLIER | {key: value} | {"eval_every": None}).run_id for key, value in LATER.items()}
    assert len(changed | {config(**EARLIER | {"eval_every": None}).run_id}) == 1 + len(LATER)
    assert workload_key(older) == now.workload_key() != config(**EARLIER, samples_per_client=30).workload_key()
    assert config(optimizer="adam").workload_key() != config().workload_key()


def test_run_config_survives_json():
    for run in configs(methods=("pep-fedpt", "fedvpt+fedprox"), alpha=(0.1, 1.0)):
        again = RunConfig(**json.loads(json.dumps(run.model_dump(mode="json"))))
        assert again == run
        assert again.run_id == run.run_id


def test_workload_key_ignores_seed_alpha_and_file_locations():
    first, second, other = configs(seeds=(0, 1)) + configs(alpha=(5.0,), data_root=".")
    assert first.workload_key() == second.workload_key() == other.workload_key()
    assert first.workload_key() == workload_key(first.model_dump(mode="json"))
    slower, elsewhere = config(rounds=2), config(executor="sequential")
    assert first.workload_key() not in (slower.workload_key(), elsewhere.workload_key())
    assert first.workload_key("executor") == elsewhere.workload_key("executor")


def test_copy_with_other_values_has_its_own_run_id_and_partition():
    run = config()
    assert (run.run_id, run.federation.alpha) == (config().run_id, 0.5)
    copy = run.model_copy(update={"alpha": 5.0})
    assert (copy.run_id, copy.federation.alpha) == (config(alpha=(5.0,)).run_id, 5.0)


class WithOtherDefaults(RunConfig):
    """A later version, whose defaults are not those of earlier runs."""

    samples_per_client: int | None = 50
    optimizer: Literal["sgd", "adam", "adamw"] = "adam"
    eps: float | None = 1.0
    standardize: Literal["none", "features", "whiten"] = "whiten"
    head_init: Literal["random", "zero", "ncm", "ridge"] = "zero"


def test_options_that_a_record_lacks_have_their_earlier_values_whatever_the_defaults_are():
    recorded = config(**EARLIER).model_dump(mode="json")
    older = {name: value for name, value in recorded.items() if name not in (*LATER, "beta1", "beta2", "eps")}
    assert WithOtherDefaults(**older).model_dump(mode="json") == recorded
    assert WithOtherDefaults(**older, head_init="ncm").head_init == "ncm"
