import pytest
import typer

from fedprompt.benchmark.cli.grid_options import ONLY_IN_PRESETS, grid_options
from fedprompt.benchmark.config.options import Options
from fedprompt.benchmark.errors import ConfigError


def chosen(*words):
    """The options that a command receives for these command-line words."""
    app, seen = typer.Typer(), list[Options]()

    @app.command()
    @grid_options
    def command(chosen: Options, loud: bool = False) -> None:
        seen.append(chosen)

    app(list(words), standalone_mode=False)
    return seen[0]


def test_defaults_apply_without_options():
    assert chosen() == Options()
    assert chosen("--loud") == Options()  # the command's own option


FRACTIONS = ("lr", "momentum", "beta1", "beta2", "participation", "weight_decay")


@pytest.mark.parametrize("name", sorted(Options.model_fields.keys() - {"skip_corrupt", *ONLY_IN_PRESETS}))
def test_every_field_of_a_grid_has_an_option(name):
    values = {
        "normalize": "half",
        "partition": "iid",
        "methods": "head",
        "datasets": "digits",
        "executor": "sequential",
        "precision": "bf16",
        "held_out": "3",
        "validation": "0.25",
        "optimizer": "adam",
        "standardize": "whiten",
        "head_init": "ncm",
        "lr_schedule": "constant",
    }
    value = values.get(name, "0.75" if name in FRACTIONS else "8")
    found = getattr(chosen(f"--{name.replace('_', '-')}", value), name)
    assert str(found[0] if isinstance(found, tuple) else found).removesuffix(".0") == value


def test_flag_takes_no_value():
    assert chosen("--skip-corrupt").skip_corrupt
    assert not chosen().skip_corrupt


def test_commas_and_repeated_options_make_one_list():
    assert chosen("--seeds", "3,1", "--seeds", "2").seeds == (3, 1, 2)
    assert chosen("--alpha", "0.05, 0.5,").alpha == (0.05, 0.5)
    assert chosen("--methods", "head,fedvpt").methods == ("head", "fedvpt")


def test_a_range_of_seeds_includes_both_ends_and_combines_with_commas():
    assert chosen("--seeds", "0-5").seeds == (0, 1, 2, 3, 4, 5)
    assert chosen("--seeds", "0-2, 7", "--seed", "9-9").seeds == (0, 1, 2, 7, 9)


def test_singular_option_names_are_aliases():
    found = chosen("--method", "head", "--dataset", "digits", "--seed", "4")
    assert (found.methods, found.datasets, found.seeds) == (("head",), ("digits",), (4,))


def test_value_of_set_may_contain_commas():
    assert chosen("--set", "a.b=[1,2]", "--set", "c.d=3").set == ("a.b=[1,2]", "c.d=3")


def test_command_line_takes_precedence_over_a_preset():
    assert chosen("--preset", "quick").rounds == 2
    found = chosen("--preset", "quick", "--rounds", "5")
    assert (found.rounds, found.clients) == (5, 10)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--alpha", "0.1,word"], "--alpha 0.1,word: 'word' is not a number"),
        (["--seeds", "1,2.5"], "--seeds 1,2.5: '2.5' is not a whole number"),
        (["--methods", " , "], "--methods is empty"),
        (
            ["--seeds", "5-3"],
            "'5-3' is not a range of seeds: it begins with the smaller number, 3-5",
        ),
        (["--seeds", "0-2-4"], "'0-2-4' is not a whole number or a range such as 0-5"),
        (["--seeds", "0-99999999999"], "--seeds 0-99999999999: '0-99999999999' has 100000000000 seeds; at most 10000"),
        (["--seeds", "0 1 2"], "--seeds 0 1 2: use commas, --seeds 0,1,2"),
        (["--alpha", "0.05;0.5"], "--alpha 0.05;0.5: use commas, --alpha 0.05,0.5"),
        (["--alpha", "0.1-0.5"], "'0.1-0.5' is not a number"),
    ],
)
def test_invalid_list_is_named(words, text):
    with pytest.raises(ConfigError) as raised:
        chosen(*words)
    assert text in str(raised.value)
