import pytest

from fedprompt.benchmark.config.method_overrides import override_notes
from fedprompt.benchmark.config.options import options
from fedprompt.benchmark.errors import ConfigError
from fedprompt.methods.errors import MethodError
from tests.benchmark.conftest import config

BASE = "methods: [head, fedvpt]\nseeds: [0]\nlr: 0.5\n"


def runs(tmp_path, text, **given):
    """The runs of a preset whose `per-method` part is `text`, by method."""
    (tmp_path / "p.yaml").write_text(BASE + "per-method:\n" + text)
    return {run.method: run for run in options(given, str(tmp_path / "p.yaml")).grid()}


TUNED = "  fedvpt: {lr: 0.01, batch-size: 8, set: [fedvpt.tokens=3], trials: 4}\n"


def test_overrides_apply_to_one_method_only(tmp_path):
    found = runs(tmp_path, TUNED)
    tuned, other = found["fedvpt"], found["head"]
    assert (tuned.lr, tuned.batch_size, tuned.settings["fedvpt"]["tokens"]) == (0.01, 8, 3)
    assert (other.lr, other.batch_size) == (0.5, 32)


def test_run_id_does_not_depend_on_how_options_were_chosen(tmp_path):
    by_hand = config(
        methods=("fedvpt",), lr=0.01, rounds=24, participation=0.25, batch_size=32, eval_every=None, precision="auto"
    )
    assert runs(tmp_path, "  fedvpt: {lr: 0.01, trials: 9}\n")["fedvpt"].run_id == by_hand.run_id


def test_command_line_takes_precedence_over_single_overrides(tmp_path):
    found = runs(tmp_path, TUNED, lr=0.2, set=("fedvpt.tokens=7",))["fedvpt"]
    assert (found.lr, found.batch_size, found.settings["fedvpt"]["tokens"]) == (0.2, 8, 7)


def test_override_notes_name_the_options_and_trials_of_runs(tmp_path):
    found = runs(tmp_path, TUNED)
    chosen = options({}, str(tmp_path / "p.yaml"))
    notes = override_notes(chosen.per_method, list(found.values()))
    assert notes == {found["fedvpt"].run_id: {"options": ["batch_size", "lr"], "trials": 4}}


def test_overruled_choice_does_not_count_as_tuned(tmp_path):
    runs(tmp_path, TUNED)
    assert options({"lr": 0.2}, str(tmp_path / "p.yaml")).per_method["fedvpt"].trials is None
    assert options({"rounds": 3}, str(tmp_path / "p.yaml")).per_method["fedvpt"].trials == 4


def test_trials_recorded_in_a_preset_have_no_effect(tmp_path):
    plain = runs(tmp_path, TUNED)
    (tmp_path / "p.yaml").write_text(BASE + "per-method:\n" + TUNED + "tuning: {lr: 7, anything: [1, 2]}\n")
    again = {run.method: run for run in options({}, str(tmp_path / "p.yaml")).grid()}
    assert again == plain


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("  fedvpt: {learning-rate: 0.1}\n", ["per-method fedvpt", "'learning_rate'", "batch-size"]),
        ("  fedvpt: {lrr: 0.1}\n", ["did you mean 'lr'"]),
        ("  fedvpt: {rounds: 9}\n", ["per-method fedvpt", "'rounds'"]),  # shared by all methods
        ("  fedvpt: {lr: 0}\n", ["per-method fedvpt lr 0", "p.yaml", "greater than 0"]),
        ("  fedvpt: 0.1\n", ["per-method", "'fedvpt: {lr: 0.05}'"]),
        ("  fedvpt: {set: [head.lr=1]}\n", ["head has no field"]),
        ("  fedvpt: {set: [fedper.tokens=1]}\n", ["per-method fedvpt", "fedper"]),
        ("  fedvtp: {lr: 0.1}\n", ["did you mean 'fedvpt'"]),
    ],
)
def test_invalid_override_is_named_with_its_method(text, words, tmp_path):
    with pytest.raises((ConfigError, MethodError)) as raised:
        runs(tmp_path, text)
    for word in words:
        assert word in str(raised.value)
    assert "\n" not in str(raised.value)
