"""The `bench` command. Only the module of the command that was asked for is imported, so help is instant."""

import importlib
import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import typer

from fedprompt.benchmark.errors import ConfigError, Terminated
from fedprompt.data.errors import DataError
from fedprompt.methods.errors import MethodError
from fedprompt.results.errors import RecordError

USER_ERRORS = (ConfigError, DataError, MethodError, RecordError)
USAGE, INTERRUPTED, TERMINATED = 2, 130, 143

COMMANDS = {  # name: (module, what `bench --help` says)
    "list": ("listing", "Methods, datasets, backbones, presets, figures."),
    "run": ("running", "One run in this process."),
    "sweep": ("running", "A grid of runs on Ray; the same command resumes."),
    "tune": ("tuning", "As many trials for every method, the best of each as a preset."),
    "plan": ("planning", "What a sweep would do and cost; runs nothing."),
    "status": ("results", "What is done, what runs, what failed, and why."),
    "retry": ("retrying", "Runs what failed in a directory again."),
    "table": ("results", "The table of a directory of runs."),
    "figure": ("results", "The figures of a directory of runs."),
    "report": ("results", "A directory of runs as one HTML file that needs nothing else."),
    "compare": ("comparing", "Two methods, paired; or published numbers beside ours."),
    "verify": ("comparing", "Papers' claims against the runs of a directory."),
    "export": ("records", "The records of a directory as one tidy file."),
    "merge": ("records", "Several directories of runs as one."),
    "prune": ("records", "Shows what of a directory may go, and deletes it with --yes."),
    "reproduce": ("records", "One run again from its record, compared bit for bit."),
    "data": ("data", "Get, check and picture data sets and partitions."),
    "doctor": ("installation", "What works here, and what mends what does not."),
    "perf": ("performance", "The throughput of this machine beside its own limit."),
    "new-method": ("contributing", "Writes a file for a method of your own to start from."),
    "check": ("contributing", "Checks a method against the contract, in plain words."),
    "pretrain": ("installation", "Pre-trains the embedded backbone on Tiny-ImageNet."),
}


def build(chosen: str | None) -> typer.Typer:
    """The command-line application with the module of `chosen` imported, and the other commands by their help alone."""
    app = typer.Typer(
        name="bench",
        help="Federated prompt tuning of Vision Transformers: methods compared on one simulator.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(_root)
    for name, (module, text) in COMMANDS.items():
        function: Any = _absent
        if name == chosen:
            function = getattr(
                importlib.import_module(f"fedprompt.benchmark.cli.{module}"),
                name.replace("list", "list_").replace("-", "_"),
            )
        if isinstance(function, typer.Typer):
            app.add_typer(function, name=name, help=text)
            continue
        app.command(name, help=text if function is _absent else None)(function)
    return app


def _root() -> None:
    pass


def _absent() -> None:
    raise AssertionError("a command ran without its module")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs `bench` and exits: 0 all well, 1 a run failed, 2 a usage or configuration error in plain lines."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s: %(message)s")
    sys.exit(_guarded(lambda: _invoke(words)))


def _invoke(words: list[str]) -> Any:
    """The command's return value. Its own errors come through, which typer's entry point would turn into others."""
    command = typer.main.get_command(build(next((w for w in words if w in COMMANDS), None)))
    with command.make_context("bench", words or ["--help"]) as context:
        return command.invoke(context)


def _guarded(call: Callable[[], Any]) -> int:
    click_error: Any = typer.BadParameter.__mro__[2]  # typer exports no other name for its parser's errors
    try:
        code = int(call() or 0)
        sys.stdout.flush()
        return code
    except typer.Exit as done:  # after --help
        return done.exit_code
    except USER_ERRORS as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        print("interrupted; what had finished is kept, and the same command goes on.", file=sys.stderr)
        return INTERRUPTED
    except Terminated:
        print("terminated; what had finished is kept, and the same command goes on.", file=sys.stderr)
        return TERMINATED
    except BrokenPipeError:  # the reader of a pipe has gone, as in `bench list methods | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except click_error as error:
        print(f"error: {error.format_message()}", file=sys.stderr)
        return USAGE
