import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fedprompt.benchmark.config import run_config as module
from fedprompt.benchmark.config.options import Options, options
from fedprompt.benchmark.config.preset_files import preset_names, read_preset
from fedprompt.benchmark.config.run_config import RunConfig
from fedprompt.benchmark.errors import ConfigError
from fedprompt.data.errors import DataError
from fedprompt.methods.errors import MethodError
from tests.benchmark.conftest import config, configs


@pytest.mark.parametrize(
    "change",
    [
        {"lr": 0.0123},
        {"rounds": 77},
        {"epochs": 5},
        {"batch_size": 7},
        {"momentum": 0.123},
        {"weight_decay": 0.0123},
        {"participation": 1.0},
        {"eval_every": 77},
        {"clients": 11},
        {"held_out": 3},
        {"partition": "iid"},
        {"alpha": (0.1,)},
        {"seeds": (1,)},
        {"methods": ("fedvpt",)},
        {"methods": ("head+fedprox",)},
        {"image_size": 64},
        {"checkpoint": "random"},
    ],
)
def test_what_changes_the_result_changes_the_name_of_the_run(change: dict[str, Any]) -> None:
    assert config(**change).run_id != config().run_id


def test_a_field_of_the_method_changes_its_name_and_no_other() -> None:
    both = {"methods": ("fedvpt", "head")}
    plain, changed = configs(**both), configs(**both, set=("fedvpt.tokens=5",))
    assert plain[0].run_id != changed[0].run_id
    assert plain[1].run_id == changed[1].run_id


def test_a_field_set_to_its_default_changes_nothing() -> None:
    plain, spelled = (config(methods=("fedvpt",), set=s) for s in ((), ("fedvpt.tokens=10",)))
    assert plain.run_id == spelled.run_id


def test_a_variant_and_the_same_field_set_by_hand_have_the_same_settings() -> None:
    variant, by_hand = (
        config(methods=("pep-fedpt:prior",)),
        config(methods=("pep-fedpt",), set=("pep-fedpt.mixing=prior",)),
    )
    assert variant.settings == by_hand.settings


@pytest.mark.parametrize("change", [{"device": "cuda"}, {"executor": "fused"}, {"data_root": "."}])
def test_where_a_run_is_computed_does_not_change_its_name(change: dict[str, Any]) -> None:
    assert config(**change).run_id == config().run_id


def test_a_plugin_that_is_not_part_of_a_run_does_not_change_its_name(plugin: Callable[..., Path]) -> None:
    assert config(plugin=(str(plugin()),)).run_id == config().run_id


def test_the_code_version_of_a_method_changes_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from fedprompt.methods.head import Head

    before = config().run_id
    monkeypatch.setattr(Head, "version", 2)
    assert config().run_id != before


def test_the_version_of_the_record_changes_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    before = config().run_id
    monkeypatch.setattr(module, "RECORD_FORMAT", 2)
    assert config().run_id != before


def npz(path: Path, value: int = 7) -> str:
    images, labels = np.full((12, 4, 4, 3), value, np.uint8), np.arange(12) % 3
    np.savez(path, train_x=images, train_y=labels, test_x=images, test_y=labels)
    return f"npz:{path}"


def test_data_that_has_moved_is_the_same_run_and_changed_data_is_another(tmp_path: Path) -> None:
    here, there, other = (
        config(datasets=(npz(tmp_path / n, v),)) for n, v in (("a.npz", 7), ("b.npz", 7), ("c.npz", 8))
    )
    assert here.dataset != there.dataset
    assert here.run_id == there.run_id != other.run_id


def test_a_checkpoint_is_what_it_holds_not_where_it_lies(tmp_path: Path) -> None:
    ids = []
    for name, value in (("a.pt", 1.0), ("b.pt", 1.0), ("c.pt", 2.0)):
        torch.save({"w": torch.full((2,), value)}, tmp_path / "same-name.pt")
        (tmp_path / "same-name.pt").rename(tmp_path / name)
        ids.append(config(checkpoint=str(tmp_path / name)).run_id)
    assert ids[0] == ids[1] != ids[2]


def test_a_run_is_named_by_the_hash_that_anyone_can_work_out() -> None:
    import hashlib

    run = config(methods=("fedvpt",))
    content = json.loads(run.model_dump_json())
    for key in ("checkpoint", "data_root", "device", "executor", "partition_file", "plugins"):
        del content[key]
    text = json.dumps(content | {"record_format": 1}, sort_keys=True)
    assert run.run_id == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_a_run_survives_json() -> None:
    for run in configs(methods=("pep-fedpt", "fedvpt+fedprox"), alpha=(0.1, 1.0)):
        again = RunConfig(**json.loads(json.dumps(run.model_dump(mode="json"))))
        assert again == run
        assert again.run_id == run.run_id


def test_the_grid_goes_cell_by_cell_method_by_method_seed_by_seed() -> None:
    runs = configs(methods=("head", "fedvpt"), alpha=(1.0, 0.1), seeds=(3, 1))
    assert [(r.alpha, r.method, r.seed) for r in runs] == [
        (alpha, method, seed) for alpha in (1.0, 0.1) for method in ("head", "fedvpt") for seed in (3, 1)
    ]
    assert len({run.run_id for run in runs}) == 8


@pytest.mark.parametrize("twice", [{"seeds": (0, 0)}, {"alpha": (0.5, 0.5)}, {"datasets": ("digits", "digits")}])
def test_a_value_named_twice_is_run_once(twice: dict[str, Any]) -> None:
    assert len(configs(**twice)) == 1


def test_all_is_every_method_once() -> None:
    from fedprompt.methods import registry

    runs = configs(methods=("all",))
    assert sorted(run.method for run in runs) == sorted(registry.METHODS)


def test_without_a_word_a_grid_is_every_method_on_digits_at_one_alpha_and_three_seeds() -> None:
    runs = options({}).grid()
    assert {(run.dataset, run.alpha) for run in runs} == {("digits", 0.5)}
    assert {run.seed for run in runs} == {0, 1, 2}


def test_a_partition_without_alpha_makes_one_cell() -> None:
    (run,) = configs(partition="iid")
    assert run.alpha is None
    assert run.federation.label == "iid"


def refusal(error: type[Exception], **given: Any) -> str:
    with pytest.raises(error) as raised:
        configs(**given)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_alpha_without_effect_is_refused() -> None:
    text = refusal(DataError, partition="iid", alpha=(0.1, 1.0))
    assert "--alpha 0.1 " in text
    assert "--partition iid" in text


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan"), float("inf")])
def test_alpha_beyond_its_limits_is_refused(alpha: float) -> None:
    assert f"--alpha {alpha:g}" in refusal(DataError, alpha=(alpha,))


def test_a_partition_that_does_not_exist_is_refused() -> None:
    assert "dirichlet" in refusal(DataError, partition="dirichlett")


@pytest.mark.parametrize(("held_out", "clients"), [(4, 4), (9, 4), (0.99, 4)])
def test_a_federation_with_nobody_to_train_is_refused(held_out: float, clients: int) -> None:
    assert f"at most {clients - 1}" in refusal(DataError, held_out=held_out, clients=clients)


def test_half_a_client_cannot_be_held_out() -> None:
    assert "--held-out 1.5" in refusal(DataError, held_out=1.5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rounds", 0),
        ("lr", 0),
        ("lr", float("nan")),
        ("momentum", 1),
        ("participation", 0),
        ("participation", 1.1),
        ("batch_size", 0),
        ("image_size", 4),
        ("executor", "parallel"),
        ("precision", "fp16"),
        ("clip_norm", 0),
        ("rounds", "many"),
        ("eval_every", 1.5),
    ],
)
def test_a_setting_beyond_its_limits_is_named_with_its_value(name: str, value: object) -> None:
    assert refusal(ConfigError, **{name: value}).startswith(f"--{name.replace('_', '-')} {value}: ")


@pytest.mark.parametrize(("name", "value"), [("clients", 1), ("held_out", -0.1), ("held_out", float("nan"))])
def test_a_partition_beyond_its_limits_is_named_with_its_value(name: str, value: float) -> None:
    assert refusal(DataError, **{name: value}).startswith(f"--{name.replace('_', '-')} {value} ")


def test_a_setting_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigError, match="--round"):
        options({"round": 3})


def test_a_field_of_a_method_outside_the_grid_is_refused() -> None:
    text = refusal(ConfigError, methods=("head",), set=("fedvpt.tokens=5",))
    assert "--set fedvpt" in text
    assert "--methods" in text


@pytest.mark.parametrize(
    "text", ["fedvpt.token=5", "fedvpt.tokens", "fedvpt.tokens=many", "fedvpt.tokens=0", "tokens=5"]
)
def test_a_field_that_cannot_be_set_is_refused(text: str) -> None:
    refusal(MethodError, methods=("fedvpt",), set=(text,))


def write(path: Path, text: str | bytes) -> str:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def test_the_command_line_wins_over_a_preset_and_a_preset_over_the_defaults(tmp_path: Path) -> None:
    preset = write(tmp_path / "p.yaml", "rounds: 7\nbatch-size: 9\n")
    chosen = options({"rounds": 3}, preset)
    assert (chosen.rounds, chosen.batch_size, chosen.lr) == (3, 9, options({}).lr)


def test_a_preset_may_name_one_value_where_a_list_is_taken(tmp_path: Path) -> None:
    preset = write(tmp_path / "p.yml", "methods: head\nseeds: 4\nalpha: 0.1\nset: fedvpt.tokens=5\n")
    chosen = options({}, preset)
    assert (chosen.methods, chosen.seeds, chosen.alpha, chosen.set) == (("head",), (4,), (0.1,), ("fedvpt.tokens=5",))


@pytest.mark.parametrize("name", preset_names())
def test_the_presets_that_come_along_are_grids(name: str) -> None:
    assert options({}, name).model_fields_set == read_preset(name, Options.model_fields).keys()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("round: 3", ["'round'", "did you mean 'rounds'"]),
        ("rounds: [", ["not YAML"]),
        (b"\xff\xfe\x00rounds", ["not YAML"]),
        ("- rounds", ["mapping"]),
        ("", ["mapping"]),
        ("rounds: many", ["--rounds many", "p.yaml"]),
        ("alpha: [0.1, word]", ["--alpha word", "p.yaml"]),
        ("seeds: [0.5]", ["--seeds 0.5"]),
    ],
)
def test_a_faulty_preset_is_named_with_its_fault(text: str | bytes, words: list[str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        options({}, write(tmp_path / "p.yaml", text))
    for word in words:
        assert word in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_unknown_preset_names_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"unknown preset 'slow'; available: .*quick"):
        options({}, "slow")


def test_a_preset_is_not_blamed_for_a_value_given_beside_it() -> None:
    with pytest.raises(ConfigError) as raised:
        options({"rounds": 0}, "quick")
    assert "quick" not in str(raised.value)
