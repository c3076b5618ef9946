from dataclasses import replace
from unittest.mock import Mock

import pytest
import yaml

from fedprompt.benchmark.config.method_overrides import MethodOverrides
from fedprompt.benchmark.config.options import options
from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.runs.record import failed
from fedprompt.benchmark.tuning.selection import (
    Trial,
    best,
    check_target,
    evaluate_trial,
    preset,
    trial_runs,
    write_preset,
)
from fedprompt.results.errors import RecordError
from tests.benchmark.conftest import configs


def keep(store, run, *validation, test=0.5):
    """Stores a finished run with these validation accuracies per evaluation, or a failed run without any."""
    record = failed(run, "ArithmeticError")
    rounds = [{"round": k, "seen_mean": test, "validation_mean": value} for k, value in enumerate(validation)]
    store.write(replace(record, result=record.result | {"status": "done"}, rounds=rounds) if rounds else record)


NAN = float("nan")


def test_score_is_the_mean_of_the_last_evaluations_of_all_runs(store):
    runs = configs(seeds=(0, 1))
    keep(store, runs[0], 0.9, NAN, 0.5, NAN, 0.3)
    keep(store, runs[1], 0.9, NAN, 0.6, NAN, 0.8)
    assert evaluate_trial(store, MethodOverrides(), runs, last=1).score == pytest.approx((0.3 + 0.8) / 2)
    assert evaluate_trial(store, MethodOverrides(), runs, last=2).score == pytest.approx((0.4 + 0.7) / 2)


def test_trial_with_a_failed_or_missing_run_has_no_score(store):
    runs = configs(seeds=(0, 1, 2))
    keep(store, runs[0], 0.9)
    keep(store, runs[1])
    found = evaluate_trial(store, MethodOverrides(), runs, last=1)
    assert (found.score, found.failed) == (None, 2)


def test_missing_validation_samples_are_refused(store):
    (run,) = configs()
    keep(store, run, NAN)
    with pytest.raises(ConfigError, match="--validation"):
        evaluate_trial(store, MethodOverrides(), [run], last=1)


def test_a_damaged_table_of_rounds_is_named(store):
    (run,) = configs()
    keep(store, run, 0.5)
    path = store.directory / run.run_id / "rounds.parquet"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RecordError, match=f"{path} cannot be read .*: delete the run's directory"):
        evaluate_trial(store, MethodOverrides(), [run], last=1)


def trial(score, **overrides):
    return Trial(MethodOverrides(**overrides), ("id",), int(score is None), score)


def test_best_is_the_first_of_equal_trials_and_never_a_failed_one():
    found = best([trial(0.2, lr=1), trial(None, lr=2), trial(0.7, lr=3), trial(0.7, lr=4)])
    assert found.overrides.lr == 3
    assert best([trial(0.0)]) is not None
    assert best([trial(None), trial(None)]) is None


def test_runs_of_a_trial_are_those_of_the_grid_with_its_overrides():
    settings = configs(methods=("head", "fedvpt"), alpha=(0.1, 1.0), seeds=(0, 1), set=("fedvpt.tokens=4",))
    overrides = MethodOverrides(lr=0.7, set=("fedvpt.tokens=2",))
    (runs,) = trial_runs(settings, {"fedvpt": [overrides]})["fedvpt"]
    wanted = {"methods": ("fedvpt",), "alpha": (0.1, 1.0), "seeds": (0, 1), "lr": 0.7, "set": ("fedvpt.tokens=2",)}
    assert runs == configs(**wanted)
    (runs,) = trial_runs(settings, {"fedvpt": [MethodOverrides(lr=0.7)]})["fedvpt"]
    assert runs[0].settings["fedvpt"]["tokens"] == 4


TRIALS = {
    "head": [trial(0.3, lr=0.1), trial(0.6, lr=0.2)],
    "fedvpt": [trial(None, lr=0.1), trial(0.5, lr=0.2, set=("fedvpt.tokens=2",))],
    "local": [trial(None, lr=0.1), trial(None, lr=0.2)],
}


def written(tmp_path, **given):
    chosen = options({"methods": ("all",), "rounds": 3, "alpha": (0.1, 1.0), "seeds": (5,), "validation": 0.3} | given)
    write_preset(tmp_path / "deep" / "tuned.yaml", preset(chosen, TRIALS, {"last": 1}))
    return tmp_path / "deep" / "tuned.yaml"


def test_preset_is_a_grid_with_the_choice_of_each_method(tmp_path):
    path = written(tmp_path)
    found = options({}, str(path))
    assert (found.rounds, found.alpha, found.methods) == (3, (0.1, 1.0), ("head", "fedvpt", "local"))
    assert (found.validation, found.seeds) == (0.0, (0, 1, 2))  # a sweep trains on every sample, with seeds of its own
    runs = {run.method: run for run in found.grid()}
    assert (runs["head"].lr, runs["fedvpt"].lr, runs["local"].lr) == (0.2, 0.2, 0.1)
    assert runs["fedvpt"].settings["fedvpt"]["tokens"] == 2
    assert found.per_method["head"].trials == 2
    assert "local" not in found.per_method


def test_preset_records_all_trials(tmp_path):
    kept = yaml.safe_load(written(tmp_path).read_text())["tuning"]
    assert kept["last"] == 1
    assert kept["trials"]["fedvpt"] == [
        {"settings": {"lr": 0.1}, "validation": None, "failed": 1, "runs": ["id"]},
        {"settings": {"lr": 0.2, "set": ["fedvpt.tokens=2"]}, "validation": 0.5, "failed": 0, "runs": ["id"]},
    ]
    assert len(kept["trials"]["local"]) == 2


def test_only_presets_of_bench_tune_are_replaced(tmp_path):
    check_target(written(tmp_path))
    check_target(tmp_path / "new.yaml")
    (tmp_path / "own.yaml").write_text("rounds: 3\n")
    with pytest.raises(ConfigError, match=r"own.yaml exists"):
        check_target(tmp_path / "own.yaml")
    with pytest.raises(ConfigError, match=r"ends in \.yaml"):
        check_target(tmp_path / "tuned.json")


def test_failed_write_keeps_the_former_preset(tmp_path, monkeypatch):
    path = written(tmp_path)
    before = path.read_text()

    monkeypatch.setattr("os.replace", Mock(side_effect=OSError(28, "No space left on device")))
    with pytest.raises(ConfigError, match="no space left"):
        write_preset(path, {"rounds": 1})
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert path.read_text() == before


def test_trials_may_differ_in_the_optimizer():
    trials = {"head": [MethodOverrides(optimizer="sgd"), MethodOverrides(optimizer="adam", lr=0.001, beta2=0.98)]}
    (sgd,), (adam,) = trial_runs(configs(momentum=0.5), trials)["head"]
    assert (sgd.optimizer, sgd.momentum, sgd.beta2) == ("sgd", 0.5, None)
    assert (adam.optimizer, adam.lr, adam.momentum, adam.beta1, adam.beta2) == ("adam", 0.001, None, 0.9, 0.98)


def test_a_trial_of_an_option_without_effect_is_refused():
    with pytest.raises(ConfigError, match=r"momentum 0\.5 has no effect with adam"):
        trial_runs(configs(), {"head": [MethodOverrides(optimizer="adam", momentum=0.5)]})
