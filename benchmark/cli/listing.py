"""`bench list`."""

import dataclasses
import json
import re
import shutil
import sys
from collections.abc import Callable
from fnmatch import fnmatchcase
from textwrap import fill
from typing import Annotated, Any, Literal, get_args, get_origin

import typer

from fedprompt.benchmark.cli.common_options import Json
from fedprompt.benchmark.errors import ConfigError

COSTS = ("upload_mb", "download_mb", "seconds", "images_per_second", "shared_parameters", "local_parameters")


def list_(
    what: Annotated[
        str, typer.Argument(metavar="WHAT", help="methods, datasets, backbones, presets, figures or metrics")
    ],
    pattern: Annotated[str, typer.Argument(metavar="[PATTERN]", help="wildcard for the names")] = "*",
    plugin: Annotated[list[str] | None, typer.Option(help="Python files that register additional methods")] = None,
    long: Annotated[
        bool, typer.Option("--long", help="methods with papers, fields and defaults, as with a PATTERN")
    ] = False,
    as_json: Json = False,
) -> None:
    """List methods, data sets, backbones, presets, figures or metrics.

    All methods are listed by family. With a PATTERN or --long, each has its paper, variants, fields and defaults.
    """
    listings: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "methods": lambda: _methods(plugin or []),
        "datasets": _datasets,
        "backbones": lambda: _backbones(pattern),
        "presets": _presets,
        "figures": _figures,
        "metrics": _metrics,
    }
    if what not in listings:
        raise ConfigError(f"bench list {what}: unknown list; available: {', '.join(listings)}.")
    rows = [row for row in listings[what]() if fnmatchcase(row["name"], pattern)]
    if not rows:
        raise ConfigError(f"no {what} match {pattern!r}; `bench list {what}` shows all names.")
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    if what == "methods" and pattern == "*" and not long:
        _print_families(rows)
        return
    for row in rows:
        _print(row, 24 if what == "metrics" else 14)


def _print_families(rows: list[dict[str, Any]]) -> None:
    """Prints the names of all methods by family, which fits on a screen."""
    families: dict[str, list[str]] = {}
    for row in rows:
        variants = "".join(f" {row['name']}:{variant}" for variant in row.get("compared", ()))
        families.setdefault(row["family"], []).append(row["name"] + variants)
    width, indent = max(map(len, families)) + 2, " " * (max(map(len, families)) + 2)
    columns = shutil.get_terminal_size().columns
    for family, names in sorted(families.items(), key=lambda item: item[0] in ("optimiser", "loss")):
        text = " ".join(names)
        print(
            fill(text, columns, initial_indent=f"{family:<{width}}", subsequent_indent=indent, break_on_hyphens=False)
        )
    print("`bench list methods NAME` describes a method, --long all of them; METHOD+NAME adds an optimiser or a loss")


def _print(row: dict[str, Any], width: int = 14) -> None:
    print(f"{row['name']:<{width}} {row.get('about', '')}".rstrip())
    if "paper" in row:
        print(f"{'':<14} {row['paper']}, {row['year']}; {row['family']}")
    if row.get("local_optimiser"):
        print(f"{'':<14}   local optimiser of its paper: {row['local_optimiser']}")
    for field in row.get("fields", []):
        limits = f", {field['limits']}" if field["limits"] else ""
        print(f"{'':<14}   {field['name']}={field['default']}: {field['meaning']} ({field['type']}{limits})")
    if row.get("licences"):
        weights = (f"{', '.join(tags)} ({licence})" for licence, tags in row["licences"].items())
        print(f"{'':<14}   weights: {'; '.join(weights)}")
    if row.get("variants"):
        variants = (f":{name}{' (in all)' if name in row['compared'] else ''}" for name in row["variants"])
        print(f"{'':<14}   variants: {', '.join(variants)}")
    sent = row.get("uploads")
    if sent or (sent is not None and not row["name"].startswith("+")):
        print(f"{'':<14}   uploads: {', '.join(sent) or 'nothing'}")
    if row.get("no_plugins"):
        print(f"{'':<14}   not with: {', '.join('+' + plugin for plugin in row['no_plugins'])}")


def _methods(plugins: list[str]) -> list[dict[str, Any]]:
    from fedprompt.methods import registry
    from fedprompt.methods.errors import MethodError

    registry.discover()
    for file in plugins:
        try:
            registry.load_plugin(file)
        except MethodError as error:
            print(f"error: {error}", file=sys.stderr)
    parts = [*registry.METHODS.items(), *((f"+{name}", cls) for name, cls in registry.OPTIMISERS.items())]
    return [method_row(name, cls) for name, cls in sorted(parts)]


def method_row(name: str, cls: Any) -> dict[str, Any]:
    """Returns the facts of a registered method, or of an optimiser if `name` begins with a plus sign."""
    from fedprompt.methods import registry

    fields = [
        {
            "name": f.name,
            "type": _type(cls, f.name, str(f.type)),
            "default": f.default,
            "meaning": f.metadata.get("meaning", ""),
            "limits": _limits(f.metadata.get("low"), f.metadata.get("high")),
        }
        for f in dataclasses.fields(cls)
    ]
    about = (cls.__doc__ or "").strip().split("\n")[0]
    row = {"name": name, "about": about, "paper": cls.paper, "year": cls.year, "family": cls.family, "fields": fields}
    row["url"] = cls.url
    row["local_optimiser"] = vars(cls).get("local_optimiser", "")  # a parent's is that of another paper
    row["deviations"] = list(cls.deviations)
    row["uploads"] = _uploads(name)
    if name.startswith("+"):
        return row
    method = cls()
    facts = {
        "personalised": cls.personalised,
        "held_out": cls.held_out,
        "seen_with": cls.seen_with,
        "held_out_with": cls.held_out_with,
        "uses_prior": method.uses_prior,
        "trained": bool(method.phases()),
        "fused": not cls.not_fusible,
        "unfused": cls.not_fusible,
        "no_plugins": [plugin for plugin in sorted(registry.OPTIMISERS) if registry.misfit(name, plugin)],
    }
    return row | facts | {"variants": list(cls.variants), "compared": list(cls.compared)}


def _uploads(name: str) -> dict[str, list[str]] | None:
    """The tensors that a client uploads, by kind; None for a plug-in that fails."""
    from fedprompt.benchmark.contract import uploads

    try:
        return uploads.of(name)
    except Exception:  # a plug-in may raise anything; `bench check` shows it
        return None


def _type(cls: type, field: str, written: str) -> str:
    """The type of a field; of one with a few values, these."""
    for owner in cls.__mro__:
        if field in vars(owner).get("__annotations__", {}):
            named = vars(sys.modules[owner.__module__]).get(written)
            choices = get_args(named) if get_origin(named) is Literal else re.findall(r'["\']([^"\']+)["\']', written)
            return " | ".join(map(str, choices)) or written
    return written


def _limits(low: float | None, high: float | None) -> str:
    if low is None and high is None:
        return ""
    return f"from {low}" if high is None else f"to {high}" if low is None else f"{low} to {high}"


def _datasets() -> list[dict[str, Any]]:
    from fedprompt.data import registry

    rows = []
    for entry in registry.entries():
        about = entry.description
        about += f"; {entry.classes} classes" if entry.classes else ""
        about += f", {entry.train:,} / {entry.test:,} images" if entry.train else ""
        rows.append({**dataclasses.asdict(entry), "about": about})
    return rows


def _backbones(pattern: str) -> list[dict[str, Any]]:
    from fedprompt.benchmark.backbone import catalogue

    return [
        {**dataclasses.asdict(entry), "about": entry.about, "licences": entry.licences}
        for entry in catalogue.entries(pattern)
    ]


def _presets() -> list[dict[str, Any]]:
    from fedprompt.benchmark.config.options import Options
    from fedprompt.benchmark.config.preset_files import preset_names, read_preset

    return [
        {"name": n, "about": ", ".join(f"{k}={v}" for k, v in read_preset(n, Options.model_fields).items())}
        for n in preset_names()
    ]


def _figures() -> list[dict[str, Any]]:
    from fedprompt.results.figures.drawing import FIGURES

    return [{"name": name, "about": (draw.__doc__ or "").strip().split("\n")[0]} for name, draw in FIGURES.items()]


def _metrics() -> list[dict[str, Any]]:
    """The parts that names of scores are made of, as wildcards, and the other numbers of a run."""
    from fedprompt.results.records.dictionary import LOGITS, MEASURES, SPLITS, describe

    scores = {f"{name}.*": text for name, text in SPLITS.items()} | {
        f"*.{name}": text for name, text in MEASURES.items()
    }
    scores |= {f"{name}.*": f"scores {text}" for name, text in LOGITS.items() if name}
    others = {name: describe(name) for name in (*COSTS, "never_trained", "temperature", "convergence_seen_change")}
    return [{"name": name, "about": text} for name, text in (scores | others).items()]
