"""The options that run, sweep and plan share, made from the fields of `Options`: one truth for both."""

import inspect
from collections.abc import Callable
from functools import wraps
from types import NoneType
from typing import Annotated, Any, get_args

import typer

from fedprompt.benchmark.config.options import Options, options
from fedprompt.benchmark.errors import ConfigError

NUMBERS = {"alpha": float, "seeds": int}
LISTS = ("methods", "datasets", "set", "plugin", *NUMBERS)
OF_PRESETS = ("per_method",)  # settings without an option
FIRST = ("methods", "datasets", "partition", "alpha", "seeds")  # what a reader of the help looks for
ALIASES = {"methods": ("--method",), "datasets": ("--dataset",), "seeds": ("--seed",)}


def grid_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator for `command(chosen: Options, ...)`: gives it an option for every setting of a grid, and --preset."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    own = [p.replace(kind=keyword) for p in inspect.signature(command).parameters.values() if p.name != "chosen"]
    preset = inspect.Parameter(
        "preset",
        keyword,
        default=None,
        annotation=Annotated[str | None, typer.Option(help="settings by name or from FILE.yaml; options here win")],
    )
    grid = [_parameter(name) for name in dict.fromkeys([*FIRST, *Options.model_fields]) if name not in OF_PRESETS]

    @wraps(command)
    def wrapper(**values: Any) -> Any:
        given = {p.name: values.pop(p.name) for p in grid}
        chosen = {k: _split(k, v) if k in LISTS else v for k, v in given.items() if v is not None}
        return command(chosen=options(chosen, values.pop("preset")), **values)

    wrapper.__signature__ = inspect.Signature([*grid, preset, *own])  # type: ignore[attr-defined]
    wrapper.__annotations__ = {p.name: p.annotation for p in (*grid, preset, *own)}
    return wrapper


def _parameter(name: str) -> inspect.Parameter:
    field = Options.model_fields[name]
    kinds = [kind for kind in get_args(field.annotation) or (field.annotation,) if kind is not NoneType]
    kind = kinds[0] if kinds[0] in (int, float, bool) else str
    value = ",".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
    value = "0.5" if name == "alpha" else value
    text = (field.description or "") + (f" [default: {value}]" if value not in (None, "", False) else "")
    if kinds and isinstance(kinds[0], str):  # a choice
        text += f" ({', '.join(kinds)})"
    option = typer.Option(f"--{name.replace('_', '-')}", *ALIASES.get(name, ()), help=text, show_default=False)
    annotation = Annotated[list[str] | None, option] if name in LISTS else Annotated[kind | None, option]  # type: ignore[valid-type]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _split(name: str, values: list[str]) -> list[Any]:
    """`a,b` and repeated options are one list; a value of --set may hold commas of its own."""
    words = [w.strip() for v in values for w in ([v] if name in ("set", "plugin") else v.split(",")) if w.strip()]
    if not words:
        raise ConfigError(f"--{name} is empty: name at least one value.")
    kind = NUMBERS.get(name)
    if kind is None:
        return words
    for word in words:
        try:
            kind(word)
        except ValueError:
            sort = "a whole number" if kind is int else "a number"
            raise ConfigError(f"--{name} {','.join(words)}: {word!r} is not {sort}.") from None
    return [kind(word) for word in words]
