"""The `bench` command. It imports the module of the requested command only, so that help is fast."""

import errno
import importlib
import logging
import os
import re
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from itertools import takewhile
from typing import Annotated, Any

import typer

from fedprompt.benchmark.cli.help import GroupedCommand
from fedprompt.benchmark.errors import ConfigError, Terminated
from fedprompt.benchmark.output import safe_output
from fedprompt.benchmark.scheduling.signals import Signals, time_limit
from fedprompt.data.errors import DataError, reason
from fedprompt.methods.errors import MethodError
from fedprompt.results.errors import RecordError
from fedprompt.results.text import bounded, one_line

USER_ERRORS = (ConfigError, DataError, MethodError, RecordError)
ONE_VALUE_EACH = ("set", "plugin", "grid")  # options whose values may contain commas; they are repeated instead
FAILED, USAGE = 1, 2
SYSTEM_LIMITS = (errno.EMFILE, errno.ENFILE)  # no file can be opened any more
COMPLETION = "_BENCH_COMPLETE"  # set by the completion script of the shell

COMMANDS = {  # name: (module, help in `bench --help`)
    "list": ("listing", "List methods, data sets, backbones, presets, figures or metrics."),
    "run": ("running", "Execute one run in this process."),
    "sweep": ("running", "Run a grid on Ray; repeat the command to resume."),
    "tune": ("tuning", "Tune every method with equally many trials; write a preset."),
    "plan": ("planning", "Estimate the runs, time, memory and traffic of a sweep."),
    "status": ("results", "Show finished, running and failed runs."),
    "retry": ("running", "Repeat the failed runs of a directory."),
    "table": ("results", "Print the table of a directory of runs."),
    "figure": ("results", "Draw the figures of a directory of runs."),
    "report": ("results", "Write a directory of runs as one self-contained HTML file."),
    "compare": ("comparing", "Compare two methods, or published and measured numbers."),
    "verify": ("comparing", "Check papers' claims against a directory of runs."),
    "export": ("records", "Export the records of a directory as tidy tables."),
    "merge": ("records", "Merge several directories of runs into one."),
    "prune": ("records", "List removable runs; delete them with --yes."),
    "reproduce": ("records", "Repeat a run from its record and compare bit for bit."),
    "data": ("data", "Download, check and plot data sets and partitions."),
    "doctor": ("installation", "Check the installation and suggest fixes."),
    "perf": ("performance", "Measure the throughput of this machine."),
    "gpu-check": ("performance", "Check that everything runs on this GPU, and how fast."),
    "new-method": ("contributing", "Create the file of a new method from a template."),
    "check": ("contributing", "Check a method against the contract."),
    "submit": ("contributing", "Make a folder of records and a checklist, to publish them."),
    "pretrain": ("installation", "Pre-train the embedded backbone on Tiny-ImageNet."),
}


def build(chosen: str | None) -> typer.Typer:
    """Returns the application with the module of the command `chosen` imported; of the others only the help."""
    app = typer.Typer(
        name="bench",
        help="Compare methods for federated prompt tuning of Vision Transformers on one simulator.",
        no_args_is_help=True,
        add_completion=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(_root)
    for name, (module, text) in COMMANDS.items():
        function: Any = _not_imported
        if name == chosen:
            function = getattr(
                importlib.import_module(f"fedprompt.benchmark.cli.{module}"),
                name.replace("list", "list_").replace("-", "_"),
            )
        if isinstance(function, typer.Typer):
            app.add_typer(function, name=name, help=text)
            continue
        app.command(name, cls=GroupedCommand, help=text if function is _not_imported else None)(function)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"fedprompt-bench {version('fedprompt-bench')}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="print the version and exit")
    ] = False,
) -> None:
    pass


def _not_imported() -> None:
    raise AssertionError("the module of the command was not imported")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs `bench` and exits.

    Exit codes: 0 success, 1 a run failed, an unreadable record was left out or the output could not be written, 2 a
    usage or configuration error (reported in one or two lines), 130 Ctrl-C, 143 SIGTERM, 129 SIGHUP.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if COMPLETION in os.environ:  # the shell asks what may follow; the words are in COMP_WORDS or a variable like it
        typed = " ".join(os.environ.get(name, "") for name in ("COMP_WORDS", "_TYPER_COMPLETE_ARGS")).split()
        build(_command_in(typed))(prog_name="bench")
    with time_limit(), Signals(interrupting=True) as signals, safe_output() as (output, _):
        logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s: %(message)s")
        code = _guarded(words)
        output.flush()
        if isinstance(output.error, OSError) and not isinstance(output.error, BrokenPipeError):
            print(f"error: standard output cannot be written: {reason(output.error)}.", file=sys.stderr)
            code = code or FAILED
    if signals.pending:  # nothing may delay or change the end of the process, like a call of Ray that does not return
        os._exit(code)
    sys.exit(code)


def _invoke(words: list[str]) -> Any:
    """Returns the command's return value. Lets errors through, which typer's entry point would replace."""
    command = typer.main.get_command(build(_command_in(words)))
    with command.make_context("bench", words or ["--help"]) as context:
        return command.invoke(context)


def _command_in(words: Sequence[str]) -> str | None:
    return next((word for word in words if word in COMMANDS), None)


def _guarded(words: list[str]) -> int:
    click_error: Any = typer.BadParameter.__mro__[2]  # typer exports no other name for its parser's errors
    try:
        return int(_invoke(words) or 0)
    except typer.Exit as done:  # after --help and --version
        return done.exit_code
    except USER_ERRORS as error:
        print(f"error: {bounded(str(error))}", file=sys.stderr)
        return USAGE
    except PermissionError as error:  # a check whether a file exists raises it, too
        print(
            f"error: {error.filename}: permission denied; name another file, or change its permissions.",
            file=sys.stderr,
        )
        return USAGE
    except (KeyboardInterrupt, Terminated) as stop:
        word, number = ("terminated", stop.number) if isinstance(stop, Terminated) else ("interrupted", signal.SIGINT)
        with suppress(OSError):  # the terminal is gone, which SIGHUP says
            print(
                f"{word}. Finished runs are saved; run the same command again to resume.", file=sys.stderr, flush=True
            )
        return 128 + number
    except OSError as error:
        if error.errno not in SYSTEM_LIMITS:
            raise
        print(f"error: {reason(error)}: raise the limit of open files with `ulimit -n 1024`.", file=sys.stderr)
        return USAGE
    except click_error as error:
        print(f"error: {bounded(error.format_message())}{_advice(words, error)}", file=sys.stderr)
        return USAGE
    except Exception:  # an error of this program: its traceback is needed
        raise
    except BaseException as early:  # SystemExit and others that only plug-ins raise here
        frames = traceback.extract_tb(early.__traceback__)
        # the frame of `exit` itself is frozen
        place = next(frame for frame in reversed(frames) if not frame.filename.startswith("<frozen"))
        print(f"error: {place.filename}, line {place.lineno}, ended the command: {one_line(early)}.", file=sys.stderr)
        return FAILED


def _advice(words: list[str], error: Any) -> str:
    """What to write instead if the unexpected arguments of a usage error are further values of a list option."""
    surplus = re.search(r"unexpected extra arguments?(?:\(s\))? \((.*)\)", error.format_message())
    lists = [p for p in error.ctx.command.params if p.param_type_name == "option" and p.multiple] if surplus else []
    for option in lists:
        for place, word in enumerate(words):
            flag, _, value = word.partition("=")
            values = [value] * bool(value) + list(takewhile(lambda w: not w.startswith("--"), words[place + 1 :]))
            if surplus and flag in option.opts and values[1:] and set(values[1:]) <= set(surplus[1].split()):
                if option.name in ONE_VALUE_EACH:
                    return f": for several values repeat {flag}: " + " ".join(f"{flag} {value}" for value in values)
                return f": several values of {flag} are separated by commas: {flag} {','.join(values)}"
    return ""
