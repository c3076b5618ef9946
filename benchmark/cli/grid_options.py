"""The options of a grid, one per field of `Options`, which run, sweep, plan, tune and others share."""

import inspect
from collections.abc import Callable, Collection
from functools import wraps
from types import NoneType
from typing import Annotated, Any, get_args

import typer

from fedprompt.benchmark.cli.common_options import announce, with_parameters
from fedprompt.benchmark.config.lists import LISTS, parse_list
from fedprompt.benchmark.config.options import Options, options
from fedprompt.benchmark.config.starting_point import StartingPoint

ONLY_IN_PRESETS = ("per_method",)
FIRST = ("methods", "datasets", "partition", "alpha", "seeds")  # in the help, as the most used options
FromRun = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="RUN_ID",
        help="start from the model that this run of --out (or DIR/RUN_ID) has kept; its options are the defaults, and "
        "--rounds 0 only evaluates",
    ),
]
ALIASES = {"methods": ("--method",), "datasets": ("--dataset",), "seeds": ("--seed",)}


def grid_options(
    command: Callable[..., Any], fields: Collection[str] = tuple(Options.model_fields), continues: bool = False
) -> Callable[..., Any]:
    """Decorator that replaces a command's parameter `chosen: Options` by an option per field, and adds --preset.

    Args:
        command: The command.
        fields: The fields that the command uses.
        continues: Whether to add --from, the run whose kept model the run starts from.
    """
    preset = inspect.Parameter(
        "preset",
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[
            str | None, typer.Option(help="options by preset name or from FILE.yaml; the command line takes precedence")
        ],
    )
    source = inspect.Parameter("from_run", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=FromRun)
    names = dict.fromkeys([*FIRST, *Options.model_fields])
    grid = [_parameter(name) for name in names if name in fields and name not in ONLY_IN_PRESETS]

    @wraps(command)
    def wrapper(**values: Any) -> Any:
        """Calls the command with the options as `Options`."""
        if not values.get("quiet"):
            announce("reading options and data sets ...")
        given = {p.name: values.pop(p.name) for p in grid}
        chosen = {k: parse_list(k, v) if k in LISTS else v for k, v in given.items() if v is not None}
        start = _starting_point(values)
        return command(chosen=options(chosen, values.pop("preset"), start), **values)

    return with_parameters(wrapper, command, "chosen", before=[*grid, preset, *([source] if continues else [])])


def _starting_point(values: dict[str, Any]) -> StartingPoint | None:
    """The run that --from names, of the commands that have this option."""
    if (name := values.pop("from_run", None)) is None:
        return None
    from fedprompt.benchmark.runs.starting_point import starting_point

    return starting_point(name, values["out"])


def _parameter(name: str) -> inspect.Parameter:
    field = Options.model_fields[name]
    kinds = [kind for kind in get_args(field.annotation) or (field.annotation,) if kind is not NoneType]
    kind = kinds[0] if kinds[0] in (int, float, bool) else str
    value = ",".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
    value = "0.5" if name == "alpha" else value
    text = (field.description or "") + (f" [default: {value}]" if value not in (None, "", False) else "")
    choices = f"[{'|'.join(kinds)}]" if isinstance(kinds[0], str) else None  # the values of a Literal
    flags = (f"--{name.replace('_', '-')}", *ALIASES.get(name, ()))
    option = typer.Option(*flags, help=text, show_default=False, metavar=choices)
    annotation = Annotated[list[str] | None, option] if name in LISTS else Annotated[kind | None, option]  # type: ignore[valid-type]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
