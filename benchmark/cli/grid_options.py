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

ONLY_IN_PRESETS = ("per_method",)
FIRST = ("methods", "datasets", "partition", "alpha", "seeds")  # in the help, as the most used options
ALIASES = {"methods": ("--method",), "datasets": ("--dataset",), "seeds": ("--seed",)}


def grid_options(
    command: Callable[..., Any], fields: Collection[str] = tuple(Options.model_fields)
) -> Callable[..., Any]:
    """Decorator that replaces a command's parameter `chosen: Options` by an option per field, and adds --preset.

    Args:
        command: The command.
        fields: The fields that the command uses.
    """
    preset = inspect.Parameter(
        "preset",
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[
            str | None, typer.Option(help="options by preset name or from FILE.yaml; the command line takes precedence")
        ],
    )
    names = dict.fromkeys([*FIRST, *Options.model_fields])
    grid = [_parameter(name) for name in names if name in fields and name not in ONLY_IN_PRESETS]

    @wraps(command)
    def wrapper(**values: Any) -> Any:
        """Calls the command with the options as `Options`."""
        if not values.get("quiet"):
            announce("reading options and data sets ...")
        given = {p.name: values.pop(p.name) for p in grid}
        chosen = {k: parse_list(k, v) if k in LISTS else v for k, v in given.items() if v is not None}
        return command(chosen=options(chosen, values.pop("preset")), **values)

    return with_parameters(wrapper, command, "chosen", before=[*grid, preset])


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
