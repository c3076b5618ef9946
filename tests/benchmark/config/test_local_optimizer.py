import pytest

from fedprompt.benchmark.config.method_overrides import override_notes
from fedprompt.benchmark.config.options import options
from fedprompt.benchmark.errors import ConfigError
from fedprompt.methods.errors import MethodError
from tests.benchmark.conftest import config


def runs(tmp_path, text, **given):
    """The runs of a preset of two methods, by method."""
    (tmp_path / "p.yaml").write_text("methods: [head, fedvpt]\nseeds: [0]\n" + text)
    return {run.method: run for run in options(given, str(tmp_path / "p.yaml")).grid()}


def fields(run):
    return run.optimizer, run.momentum, run.beta1, run.beta2, run.eps


SGD, ADAM = ("sgd", 0.9, None, None, None), ("adam", None, 0.9, 0.999, 1e-8)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"optimizer": "adam", "momentum": 0.9}, ("--momentum 0.9", "adam", "sgd")),
        ({"optimizer": "adamw", "momentum": 0.0}, ("--momentum 0.0", "adamw", "sgd")),
        ({"beta1": 0.8}, ("--beta1 0.8", "sgd", "adam or adamw")),
        ({"beta2": 0.98}, ("--beta2 0.98", "sgd", "adam or adamw")),
        ({"eps": 1e-6}, ("--eps 1e-06", "sgd", "adam or adamw")),
    ],
)
def test_an_option_without_effect_is_refused_with_value_and_remedy(given, words):
    with pytest.raises(ConfigError) as raised:
        config(**given)
    assert all(word in str(raised.value) for word in words)
    assert "\n" not in str(raised.value)


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(ConfigError, match=r"--optimizer lion: .*'sgd', 'adam' or 'adamw'"):
        config(optimizer="lion")


@pytest.mark.parametrize(("name", "value"), [("beta1", 1), ("beta2", -0.1), ("eps", 0), ("beta2", float("nan"))])
def test_a_field_of_adam_out_of_range_is_refused(name, value):
    with pytest.raises(ConfigError, match=f"--{name} {value}: "):
        config(optimizer="adam", **{name: value})


def test_one_method_may_have_its_own_optimizer(tmp_path):
    found = runs(tmp_path, "momentum: 0.5\nper-method:\n  fedvpt: {optimizer: adam, lr: 0.001, beta2: 0.98}\n")
    assert fields(found["head"]) == ("sgd", 0.5, None, None, None)
    assert fields(found["fedvpt"]) == ("adam", None, 0.9, 0.98, 1e-8)


def test_an_option_of_one_method_without_effect_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"per-method fedvpt beta1 0\.8 has no effect with sgd"):
        runs(tmp_path, "per-method:\n  fedvpt: {beta1: 0.8}\n")
    with pytest.raises(ConfigError, match=r"per-method fedvpt momentum 0\.5 has no effect with adam"):
        runs(tmp_path, "optimizer: adam\nper-method:\n  fedvpt: {momentum: 0.5}\n")


def test_the_command_lines_optimizer_replaces_that_of_a_preset_and_its_fields(tmp_path):
    text = "optimizer: adam\nbeta2: 0.98\nper-method:\n  fedvpt: {optimizer: adamw, beta1: 0.8}\n"
    assert [fields(run) for run in runs(tmp_path, text, optimizer="sgd").values()] == [SGD, SGD]
    assert [fields(run) for run in runs(tmp_path, "momentum: 0.5\n", optimizer="adam").values()] == [ADAM, ADAM]


def test_an_overridden_optimizer_makes_its_fields_options_of_the_method(tmp_path):
    """Otherwise a table would show methods with different optimizers in different settings."""
    found = runs(tmp_path, "per-method:\n  fedvpt: {optimizer: adam}\n")
    notes = override_notes(options({}, str(tmp_path / "p.yaml")).per_method, list(found.values()))
    assert notes[found["fedvpt"].run_id]["options"] == ["beta1", "beta2", "eps", "momentum", "optimizer"]


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_scaffold_is_refused_without_sgd(optimizer):
    with pytest.raises(MethodError, match=rf"head\+scaffold: .*--optimizer sgd instead of {optimizer}, or drop \+scaf"):
        config(methods=("head+scaffold",), optimizer=optimizer)
    assert config(methods=("head+scaffold",)).optimizer == "sgd"
    assert config(methods=("head+feddyn",), optimizer=optimizer).optimizer == optimizer
