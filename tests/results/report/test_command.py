import shlex

import typer.testing

from fedprompt.benchmark.cli import grid_options
from fedprompt.benchmark.config.options import Options
from fedprompt.results.report.command import command


def configuration(line):
    """The configuration that `bench run` parses from a line."""
    found = []
    app = typer.Typer()

    @app.command()
    @grid_options.grid_options
    def run(chosen: Options):
        found.extend(chosen.grid())

    words = shlex.split(line)
    assert words[:2] == ["bench", "run"]
    result = typer.testing.CliRunner().invoke(app, words[2:])
    assert result.exit_code == 0, result.output
    (config,) = found
    return config


def test_the_command_of_a_run_has_the_same_run_id():
    chosen = Options(
        methods=("pep-fedpt:prior+fedprox",),
        alpha=(0.05,),
        seeds=(4,),
        lr=0.003,
        participation=0.5,
        held_out=0.1,
        set=("pep-fedpt.tau=0.2", "fedprox.mu=1e-6"),
    )
    (config,) = chosen.grid()
    recorded = config.model_dump(mode="json")
    assert configuration(command(recorded)).run_id == config.run_id


def test_the_command_of_a_run_with_one_held_out_client_is_accepted():
    (config,) = Options(methods=("head",), seeds=(0,), held_out=1).grid()
    line = command(config.model_dump(mode="json"))
    assert "--held-out 1 " in line
    assert configuration(line).run_id == config.run_id


def test_an_infinite_share_of_a_changed_record_is_shown_as_it_is():
    assert "--held-out Infinity " in command({"method": "a", "held_out": float("inf")})


def test_the_command_of_an_older_run_names_what_was_the_default_then():
    line = command({"method": "a", "lr": 0.1})
    earlier = "--head-init random --lr 0.1 --lr-schedule constant --optimizer sgd --personal-lr-factor 1.0"
    assert line == f"bench run --method a {earlier} --standardize none"
    assert "--head-init zero" in command({"method": "a", "head_init": "zero"})


def test_special_characters_are_quoted_for_the_shell():
    words = shlex.split(command({"method": "a", "dataset": "npz:/my data/$x.npz", "plugins": ["my method.py"]}))
    assert words[2:6] == ["--method", "a", "--dataset", "npz:/my data/$x.npz"]
    assert words[-2:] == ["--plugin", "my method.py"]


def test_disabled_switches_and_options_of_none_are_omitted():
    assert command({"method": "a", "skip_corrupt": False, "clip_norm": None}) == command({"method": "a"})
    words = command({"method": "a", "skip_corrupt": True}).split()
    assert words[words.index("--skip-corrupt") + 1].startswith("--")
