import json
import math

import numpy as np
import pytest
import torch

from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.runs import execute as runner
from fedprompt.benchmark.runs.execute import execute
from fedprompt.benchmark.runs.record import failed
from tests.benchmark.conftest import config


def test_a_record_carries_what_readers_expect():
    run = config(methods=("fedper",), rounds=2, standardize="none")
    record = execute(run)
    result = json.loads(json.dumps(record.result))
    assert result["format"] == 1
    assert result["run_id"] == run.run_id
    assert (result["method"], result["dataset"], result["partition"]) == ("fedper", "digits", "dirichlet")
    assert result["family"] == "personal prompts"
    assert (result["alpha"], result["seed"], result["status"], result["error"]) == (0.5, 0, "done", None)
    assert result["config"] == run.model_dump(mode="json")
    for metrics in (result["metrics"], result["metrics_prior"]):
        for group in ("seen", "held_out"):
            assert metrics[group].keys() == {"mean", "worst", "bottom_decile", "std", "pooled", "clients", "too_few"}
    # fedper: 10 prompt tokens of width 96 travel, a head of 10 x 96 + 10 stays; 2 of 16 seen clients a round
    assert result["parameters"] == {"shared": 960, "local": 970}
    heads = {"head.weight": [10, 96], "head.bias": [10]}
    assert result["trainable"] == {"shared": {"prompt": [10, 96]}, "local": heads}
    assert result["travelling"] == {"upload": {"prompt": [10, 96]}, "download": {"prompt": [10, 96]}}
    assert result["uploads"] == {"parameters": ["prompt"]}
    assert result["predicts_with"] == {
        "seen": "the averaged prompt under its personal head",
        "untrained": "the averaged prompt under the mean of the clients' heads",
        "held_out": "the averaged prompt under the mean of the clients' heads",
        "personalised": "after 1 epoch of head.weight, head.bias on its own data",
    }
    assert result["images"] == {
        "train": sum(row["train_samples"] * row["rounds_trained"] for row in record.clients),
        "fine_tuning": 0,
        "personal": sum(row["train_samples"] for row in record.clients),
    }
    assert result["backbone_passes"] == sum(result["passes"].values()) > result["images"]["train"]
    assert result["unscored"] == {"seen": 0, "held_out": 0}
    assert result["communication"] == {"upload_bytes": 2 * 2 * 3840, "download_bytes": 2 * 2 * 3840}
    assert result["seconds"]["total"] >= result["seconds"]["train"] + result["seconds"]["eval"]
    assert result["images_per_second"] > 0
    assert {"python", "torch", "timm", "numpy", "device", "threads"} <= result["environment"].keys()
    assert result["deviations"]
    assert result["data"]["split"] == "every fifth scan in class order is a test scan"
    assert result["data"]["resize"].startswith("from 8x8 px to 32x32 px")
    assert len(result["data"]["mean"]) == len(result["data"]["std"]) == 3
    assert [row["round"] for row in record.rounds] == [0, 1, 2]
    assert [row["client"] for row in record.clients] == list(range(20))


def test_every_method_of_a_seed_meets_the_same_federation():
    hashes = {runner.federation(config(methods=(name,), lr=lr)).hash for name, lr in (("head", 0.1), ("local", 0.2))}
    assert len(hashes) == 1
    assert runner.federation(config(seeds=(1,))).hash not in hashes


def test_the_federation_of_a_run_is_that_of_its_record():
    record = execute(config())
    federation = runner.federation(config())
    never_sampled = record.result["federation"].pop("never_sampled_tests")
    assert record.result["federation"] == {"hash": federation.hash, **federation.summary()}
    seen = [row for row in record.clients if not row["held_out"]]
    tests = sum(row["test_samples"] for row in seen if not row["rounds_trained"])
    assert never_sampled == tests / sum(row["test_samples"] for row in seen)
    assert 0 < never_sampled < 1
    assert [row["class_counts"] for row in record.clients] == federation.counts.tolist()


def test_a_run_repeats_bit_for_bit_whatever_the_executor(small_data):
    small = {"methods": ("fedvpt",), "datasets": (small_data,), "clients": 5, "participation": 0.5, "min_test": 1}
    runs = [
        execute(config(**small, executor=executor), threads)
        for executor, threads in (("sequential", 1), ("sequential", 4), ("threaded", 2), ("auto", 3))
    ]
    for run in runs[1:]:
        assert run.result["metrics"] == runs[0].result["metrics"]
        for one, other in zip(run.rounds, runs[0].rounds, strict=True):
            assert {**one, "seconds": 0, "train_loss": 0} == {**other, "seconds": 0, "train_loss": 0}
            assert one["train_loss"] == other["train_loss"] or math.isnan(one["train_loss"])
    assert [run.result["environment"]["threads"] for run in runs] == ["1", "4", "2", "3"]
    assert [run.result["executor"]["used"] for run in runs] == ["sequential", "sequential", "threaded", "threaded"]
    fused = execute(config(**small, executor="fused")).result
    assert fused["executor"] == {"asked": "fused", "used": "fused", "fused_clients": 2, "notes": []}


def test_a_failed_run_is_a_row_with_its_error():
    record = failed(config(), "ValueError: it broke")
    assert record.result["status"] == "failed"
    assert record.result["error"] == "ValueError: it broke"
    assert record.result["metrics"] is None
    assert record.rounds == record.clients == []


def test_a_device_that_is_absent_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"--device cuda:1: .*--device cpu"):
        runner.simulator(config(device="cuda:1"))


def test_images_of_any_size_and_a_client_without_test_samples_run(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    images = rng.integers(0, 256, (40, 9, 13, 3)).astype(np.uint8)
    np.savez(tmp_path / "a.npz", train_x=images, train_y=labels, test_x=images[:3], test_y=labels[:3])
    run = config(datasets=(f"npz:{tmp_path / 'a.npz'}",), clients=5)
    record = execute(run)
    tested = [row for row in record.clients if row["test_samples"]]
    assert len(tested) == 3
    metrics = record.result["metrics"]
    assert sum(metrics[group]["clients"] for group in ("seen", "held_out") if metrics[group]) == 3


def test_the_method_of_a_plugin_is_found_by_the_worker_itself(plugin, monkeypatch):
    import sys

    from fedprompt.methods import registry

    run = config(methods=("own",), plugin=(str(plugin()),))
    monkeypatch.delitem(registry.METHODS, "own")  # as in a process that has not seen it
    for module in [name for name in sys.modules if name.startswith("bench_plugin_")]:
        monkeypatch.delitem(sys.modules, module)
    assert execute(run).result["status"] == "done"


def test_what_travels_by_rows_of_classes_is_shown_with_those_of_all():
    """What a client of pep-fedpt+scaffold sends: shared tensors, control variates, and sums of its prototypes."""
    record = execute(config(methods=("pep-fedpt+scaffold",), rounds=1, alpha=(0.05,), standardize="none"))
    shared = {"prompt": [10, 96], "class_prompts": [10, 1, 96], "head.weight": [10, 96], "head.bias": [10]}
    plugged = {f"scaffold.{name}": shape for name, shape in shared.items()}
    sums = {"prototype.sum": [10, 96], "prototype.count": [10, 1]}
    assert record.result["travelling"]["upload"] == {**shared, **plugged, **sums}
    assert record.result["travelling"]["download"].keys() == {*shared, *plugged, "prototypes", "known", "centre"}


@pytest.fixture(scope="module")
def pep_fedpt():
    return execute(config(methods=("pep-fedpt",)))


def test_the_diagnostics_of_a_method_are_columns_of_its_rounds(pep_fedpt, small_data):
    record = pep_fedpt
    for name in ("mix_entropy", "mix_accuracy", "prior_accuracy"):
        assert record.rounds[-1][f"train_{name}"] >= 0
        assert record.rounds[-1][f"test_{name}"] >= 0
    oracle = execute(config(methods=("pep-fedpt:oracle",), datasets=(small_data,), clients=5))
    assert oracle.rounds[-1]["test_mix_accuracy"] == 1
    assert oracle.rounds[-1]["test_mix_entropy"] == 0


def test_what_a_method_hands_over_by_true_class_is_in_its_record_alone(pep_fedpt):
    rows = json.loads(json.dumps(pep_fedpt.result, allow_nan=False))["by_class"]["mix_weights"]
    assert all(sum(row) == pytest.approx(1, abs=1e-3) for row in rows if row[0] is not None)
    assert "by_class" not in execute(config()).result


def test_cohorts_and_batch_orders_of_real_runs_do_not_depend_on_the_method():
    runs = [runner.simulator(config(methods=(name,), lr=lr)) for name, lr in (("head", 0.1), ("fedvpt", 0.2))]
    for number in (1, 2):
        cohorts = [run.context.cohort(number).tolist() for run in runs]
        assert cohorts[0] == cohorts[1]
        orders = [
            [task.rng.permutation(task.rows).tolist() for task in run.make_tasks(cohorts[0], number)] for run in runs
        ]
        assert orders[0] == orders[1]


@pytest.mark.parametrize(
    ("option", "value", "read"),
    [
        ("epochs", 3, lambda run: run.context.settings.training.epochs),
        ("batch_size", 5, lambda run: run.context.settings.training.batch_size),
        ("lr", 0.125, lambda run: run.context.settings.training.lr),
        ("momentum", 0.25, lambda run: run.context.settings.training.momentum),
        ("weight_decay", 0.375, lambda run: run.context.settings.training.weight_decay),
        ("clip_norm", 2.5, lambda run: run.context.settings.training.clip_norm),
        ("lr_schedule", "constant", lambda run: run.context.settings.training.lr_schedule),
        ("rounds", 7, lambda run: run.context.settings.rounds),
        ("participation", 0.5, lambda run: run.context.settings.participation),
        ("eval_every", 6, lambda run: run.context.settings.eval_every),
        ("personal_epochs", 4, lambda run: run.context.settings.personal_epochs),
        ("personal_lr_factor", 0.5, lambda run: run.context.settings.personal_lr_factor),
        ("min_test", 3, lambda run: run.context.settings.min_test),
        ("prior_smoothing", 0.5, lambda run: run.context.settings.prior_smoothing),
        ("normalize", "none", lambda run: {"none": "none"}[mean_and_std(run)]),
    ],
)
def test_an_option_of_the_command_line_reaches_the_simulator(option, value, read, bench, monkeypatch):
    """Any of them may be replaced by a constant on the way: each value differs from its default."""
    runs, real = [], runner.assemble
    monkeypatch.setattr(
        runner, "assemble", lambda *a: runs.append(real(*a)) or (_ for _ in ()).throw(ConfigError("stop"))
    )
    bench("run", "--method", "head", f"--{option.replace('_', '-')}", value)
    assert read(runs[0]) == value
    assert getattr(config(), option) != value


def mean_and_std(run):
    """The name of the normalisation of both splits, from how they map black and white."""
    names = {(0.0, 1.0): "none", (-1.0, 1.0): "half"}
    (found,) = {
        names.get((float(((0 - s._mean) / s._std).max()), round(float(((255 - s._mean) / s._std).max()), 4)), "other")
        for s in (run.context.train, run.context.test)
    }
    return found


def test_runs_of_one_process_do_not_see_each_others_features_and_heads(small_data):
    def seen(**options):
        run = config(datasets=(small_data,), clients=5, rounds=2, **options)
        record = execute(run)
        return record.result["metrics"]["seen"]["mean"], record.rounds[-1]["train_loss"]

    plain = seen()
    changed = seen(standardize="whiten", head_init="ridge")
    assert seen() == plain != changed
    assert seen(standardize="whiten", head_init="ridge") == changed


def test_a_record_has_what_was_prepared_and_how_far_it_converged(small_data):
    record = execute(config(datasets=(small_data,), clients=5, rounds=2, standardize="features")).result
    assert record["preparation"]["constant_features"] == 0
    assert record["config"]["standardize"] == "features"
    assert record["convergence"].keys() == {"since_round", "seen_change", "between_evaluations", "loss_change"}
