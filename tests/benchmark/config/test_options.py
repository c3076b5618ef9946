import pytest

from fedprompt.benchmark.config.options import Options, options
from fedprompt.benchmark.config.preset_files import preset_names, read_preset
from fedprompt.benchmark.config.run_config import RECORD_FORMAT
from fedprompt.benchmark.errors import ConfigError
from fedprompt.data.errors import DataError
from fedprompt.methods.errors import MethodError
from fedprompt.results.records import identity
from tests.benchmark.conftest import config, configs


def test_grid_is_ordered_by_setting_method_and_seed():
    runs = configs(methods=("head", "fedvpt"), alpha=(1.0, 0.1), seeds=(3, 1))
    assert [(r.alpha, r.method, r.seed) for r in runs] == [
        (alpha, method, seed) for alpha in (1.0, 0.1) for method in ("head", "fedvpt") for seed in (3, 1)
    ]
    assert len({run.run_id for run in runs}) == 8


@pytest.mark.parametrize("twice", [{"seeds": (0, 0)}, {"alpha": (0.5, 0.5)}, {"datasets": ("digits", "digits")}])
def test_repeated_value_is_run_once(twice):
    assert len(configs(**twice)) == 1


def test_all_selects_every_method_and_compared_variant_once():
    from fedprompt.methods import registry

    runs = configs(methods=("all",))
    assert sorted(run.method for run in runs) == sorted([*registry.METHODS, "fedproto:head"])


def test_default_grid_is_every_method_on_digits_with_three_seeds():
    runs = options({}).grid()
    assert {(run.dataset, run.alpha) for run in runs} == {("digits", 0.5)}
    assert {run.seed for run in runs} == {0, 1, 2}


def test_partition_without_alpha_has_one_setting():
    (run,) = configs(partition="iid")
    assert run.alpha is None
    assert run.federation.label == "iid"


def refusal(error, **given):
    with pytest.raises(error) as raised:
        configs(**given)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_alpha_without_effect_is_refused():
    text = refusal(DataError, partition="iid", alpha=(0.1, 1.0))
    assert "--alpha 0.1 " in text
    assert "--partition iid" in text


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan"), float("inf"), 1e300])
def test_alpha_out_of_range_is_refused(alpha):
    assert f"--alpha {alpha:g}" in refusal(DataError, alpha=(alpha,))


def test_unknown_partition_is_refused():
    assert "dirichlet" in refusal(DataError, partition="dirichlett")


@pytest.mark.parametrize(("held_out", "clients"), [(4, 4), (9, 4), (0.99, 4)])
def test_federation_without_training_clients_is_refused(held_out, clients):
    assert f"at most {clients - 1}" in refusal(DataError, held_out=held_out, clients=clients)


def test_fractional_number_of_held_out_clients_is_refused():
    assert "--held-out 1.5" in refusal(DataError, held_out=1.5)


OUT_OF_RANGE = [
    ("rounds", 0), ("lr", 0), ("lr", float("nan")), ("momentum", 1), ("participation", 0), ("participation", 1.1),
    ("batch_size", 0), ("image_size", 4), ("executor", "parallel"), ("precision", "fp16"), ("clip_norm", 0),
    ("rounds", "many"), ("eval_every", 1.5), ("lr", float("inf")), ("weight_decay", float("inf")),
    ("clip_norm", float("inf")), ("eps", float("inf")), ("prior_smoothing", float("inf")),
    ("weight_decay", float("nan")),
    ("rounds", 10**20), ("epochs", 10**9), ("batch_size", 10**12), ("eval_every", 10**20), ("personal_epochs", 10**9),
    ("min_test", 10**20), ("image_size", 10**6), ("patch_size", 10**6), ("clients", 10**12), ("clients", float("inf")),
    ("samples_per_client", 10**20), ("classes_per_client", 10**20), ("clients_per_domain", 10**20),
    ("min_samples", 10**20), ("validation", 0.99), ("validation", 0.51), ("validation", float("inf")),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), OUT_OF_RANGE)
def test_option_out_of_range_is_named_with_its_value(name, value):
    assert refusal(ConfigError, **{name: value}).startswith(f"--{name.replace('_', '-')} {value}: ")


@pytest.mark.parametrize(("name", "value"), [("clients", 1), ("held_out", -0.1), ("held_out", float("nan"))])
def test_partition_option_out_of_range_is_named_with_its_value(name, value):
    assert refusal(DataError, **{name: value}).startswith(f"--{name.replace('_', '-')} {value} ")


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_that_no_generator_takes_is_refused(seed):
    assert refusal(ConfigError, seeds=(0, seed)).startswith(f"--seeds {seed}: input should be ")


@pytest.mark.parametrize("written", ["1.0", "1.", "1e0", 1.0])
def test_one_as_a_share_of_held_out_clients_is_refused_because_none_would_train(written):
    text = refusal(ConfigError, held_out=written, clients=4)
    assert text == (
        f"--held-out {written}: as a share this is every client and none would train; "
        "use a share below 1, or the whole number 1 for one client."
    )


@pytest.mark.parametrize("written", ["1", 1])
def test_one_as_a_number_of_held_out_clients_is_one_client(written):
    run = config(held_out=written, clients=4)
    assert isinstance(run.held_out, float)  # as in the run ids of older records
    assert run.federation.held_out_clients(4) == 1


def test_half_of_the_samples_may_be_kept_for_validation():
    assert config(validation=0.5).validation == 0.5


def test_unknown_option_is_refused():
    with pytest.raises(ConfigError, match="--round"):
        options({"round": 3})


def test_field_of_a_method_outside_the_grid_is_refused():
    text = refusal(ConfigError, methods=("head",), set=("fedvpt.tokens=5",))
    assert "--set fedvpt" in text
    assert "--methods" in text


@pytest.mark.parametrize(
    "text", ["fedvpt.token=5", "fedvpt.tokens", "fedvpt.tokens=many", "fedvpt.tokens=0", "tokens=5"]
)
def test_invalid_field_is_refused(text):
    refusal(MethodError, methods=("fedvpt",), set=(text,))


def write(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def test_command_line_precedes_preset_and_preset_precedes_defaults(tmp_path):
    preset = write(tmp_path / "p.yaml", "rounds: 7\nbatch-size: 9\n")
    chosen = options({"rounds": 3}, preset)
    assert (chosen.rounds, chosen.batch_size, chosen.lr) == (3, 9, options({}).lr)


def test_preset_may_give_one_value_for_a_list(tmp_path):
    preset = write(tmp_path / "p.yml", "methods: head\nseeds: 4\nalpha: 0.1\nset: fedvpt.tokens=5\n")
    chosen = options({}, preset)
    assert (chosen.methods, chosen.seeds, chosen.alpha, chosen.set) == (("head",), (4,), (0.1,), ("fedvpt.tokens=5",))


@pytest.mark.parametrize("name", preset_names())
def test_shipped_presets_set_what_they_contain(name):
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
def test_invalid_preset_is_named_with_its_fault(text, words, tmp_path):
    with pytest.raises(ConfigError) as raised:
        options({}, write(tmp_path / "p.yaml", text))
    for word in words:
        assert word in str(raised.value)
    assert "\n" not in str(raised.value)


def test_unknown_preset_lists_the_available_ones():
    with pytest.raises(ConfigError, match=r"unknown preset 'slow'; available: .*quick"):
        options({}, "slow")


def test_error_of_a_command_line_value_does_not_name_the_preset():
    with pytest.raises(ConfigError) as raised:
        options({"rounds": 0}, "quick")
    assert "quick" not in str(raised.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"standardize": "norm"}, "--standardize norm: input should be 'none', 'features' or 'whiten'"),
        ({"head_init": "zeros"}, "--head-init zeros: input should be 'random', 'zero', 'ncm' or 'ridge'"),
    ],
)
def test_an_unknown_word_is_refused_with_the_known_ones(given, message):
    with pytest.raises(ConfigError, match=message):
        options(given)


def test_rounds_to_evaluate_are_listed_in_any_order_and_kept_sorted():
    chosen = options({"rounds": 24, "eval_at": [24, 6, 6]})
    assert chosen.eval_at == (6, 24)
    assert {run.eval_at for run in options({"rounds": 24, "eval_at": [24, 6], "methods": ["head"]}).grid()} == {(6, 24)}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"eval_at": [2], "eval_every": 2}, "--eval-at .*: it replaces --eval-every; use one of them"),
        ({"eval_at": [9], "rounds": 8}, "--eval-at .*: 9 lies after the last of 8 rounds; raise --rounds"),
        ({"eval_at": [-1]}, "--eval-at -1: input should be greater than or equal to 0"),
    ],
)
def test_rounds_to_evaluate_that_cannot_be_are_refused(given, message):
    with pytest.raises(ConfigError, match=message):
        options(given)


def test_a_schedule_of_evaluations_on_the_command_line_replaces_that_of_a_preset():
    assert options({"eval_at": [1]}, "quick").eval_every is None
    assert options({"eval_at": [1]}, "quick").eval_at == (1,)


def test_a_run_without_listed_rounds_keeps_the_id_that_it_had_before_they_could_be_listed():
    run = options({"methods": ["head"], "seeds": [0], "eval_every": 4}).grid()[0]
    content = run.model_dump()
    del content["eval_at"]
    assert identity.run_id(content, RECORD_FORMAT) == run.run_id
    assert run.model_copy(update={"eval_at": (2,)}).run_id != run.run_id
