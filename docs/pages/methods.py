"""Generates a page per method and optimiser from the registry."""

import inspect
from itertools import groupby
from math import prod
from types import SimpleNamespace
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints

from docs.pages.page import Page, definitions, escape, sections, table
from docs.pages.uploads import page as uploads_page
from fedprompt.benchmark.cli.listing import method_row
from fedprompt.benchmark.contract import uploads
from fedprompt.benchmark.simulation.random_streams import RandomStreams
from fedprompt.methods import registry
from fedprompt.methods.base import Backbone, State
from fedprompt.methods.optimiser import LossPlugin

VIT = SimpleNamespace(
    dim=768,
    depth=12,
    hidden=3072,
    fc1_width=3072,
    registers=0,
    patch_size=16,
    image_size=224,
    classes=100,
    initial_head=None,
)
"""The shape of a ViT-B/16 with a head for 100 classes: all that the shapes of initial tensors depend on."""
CLIENTS = 100
INDEX = ("method", "summary", "paper", "year", "shared", "local")
ROLES = {
    "shared": "trained by clients, averaged by the server",
    "local": "trained and kept by each client",
    "memory": "kept by the server, sent to clients",
    "private": "kept by the server",
}


def pages() -> list[tuple[str, list[Page]]]:
    """Return (family, pages) pairs: the index with an empty family, the families of methods, optimisers and losses."""
    families = [(family, [_method(name, cls) for name, cls in members]) for family, members in _families()]
    plugins = [(family, [_plugin(name) for name in members]) for family, members in _plugins().items()]
    overview = [Page("methods/index.md", "All methods", _index()), uploads_page()]
    return [("", overview), *families, *plugins]


def tensors(name: str) -> dict[str, State]:
    """A method's initial tensors on a ViT-B/16 with 100 classes, by role (the keys of `ROLES`)."""
    method, vit = registry.METHODS[name](), cast(Backbone, VIT)
    rng = RandomStreams("reference", "none", 0).torch
    parts = (
        method.shared(vit, rng),
        method.local(vit, rng),
        method.memory(vit, rng),
        method.private(vit, rng, CLIENTS),
    )
    return dict(zip(ROLES, parts, strict=True))


def _families() -> list[tuple[str, list[tuple[str, Any]]]]:
    """The registered methods by family, sorted by name."""
    registry.discover()
    methods = sorted(registry.METHODS.items(), key=lambda item: (item[1].family, item[0]))
    return [(family, list(members)) for family, members in groupby(methods, lambda item: item[1].family)]


def _plugins() -> dict[str, list[str]]:
    """The names of the registered plug-ins, by kind."""
    names: dict[str, list[str]] = {"optimisers": [], "losses": []}
    for name, cls in sorted(registry.OPTIMISERS.items()):
        names["losses" if issubclass(cls, LossPlugin) else "optimisers"].append(name)
    return names


def _plugin_rows(names: list[str]) -> str:
    classes = [(name, registry.OPTIMISERS[name]) for name in names]
    rows = [(f"[`+{name}`]({_plugin_page(name)})", _summary(cls), paper(cls), str(cls.year)) for name, cls in classes]
    return table(("plug-in", "summary", "paper", "year"), rows, 1)


def _plugin_page(name: str) -> str:
    return f"{registry.OPTIMISERS[name].family}-{name}.md"


def _index() -> str:
    parts = []
    for family, members in _families():
        rows = [
            (
                f"[`{name}`]({name}.md)",
                _summary(cls),
                paper(cls),
                str(cls.year),
                *(_size(name, part) for part in ("shared", "local")),
            )
            for name, cls in members
        ]
        parts.append(f"## {family.capitalize()}\n\n{table(INDEX, rows, 3)}")
    plugins = _plugins()
    return sections(
        "# Methods",
        "A method's name is `METHOD[:VARIANT][:FIELD=VALUE...][+PLUGIN...]`, as in `pep-fedpt:hard:tau=0.3+la`. Values "
        "in the name let one sweep compare several; `--set` changes them for all runs. *Shared* counts the parameters "
        "that clients train and the server averages; *local* counts those that each client trains and keeps. Both are "
        "for a ViT-B/16 with 100 classes and default hyperparameters. [What leaves the client](uploads.md) lists the "
        "kinds of tensors that each method uploads.",
        *parts,
        "## Optimisers",
        "Append one or more to a method's name, as in `fedvpt+fedprox`. They change the steps of clients or server on "
        "shared tensors, in rounds only.",
        _plugin_rows(plugins["optimisers"]),
        "## Losses",
        "Append at most one, as in `fedvpt+la` or `pep-fedpt+la+fedprox`. A loss changes the logits of the "
        "cross-entropy in all training of a method, also in its fine-tuning and before the personalised score, but no "
        "prediction.",
        _plugin_rows(plugins["losses"]),
    )


def _size(name: str, part: str) -> str:
    return f"{sum(value.numel() for value in tensors(name)[part].values()):,}"


def _method(name: str, cls: Any) -> Page:
    row = method_row(name, cls)
    facts = {
        "Seen clients predict with": row["seen_with"],
        "Held-out clients predict with": row["held_out_with"] if row["held_out"] else "nothing; they have no model",
        "Reads the client's class prior": "yes" if row["uses_prior"] else "no",
        "Leaves the client": ", ".join(row["uploads"]) or "nothing",
        "Leaves the client in variants": _of_variants(name, cls, row["uploads"]),
        "Local optimiser of the paper": row["local_optimiser"],
        "Trains": "" if row["trained"] else "nothing",
        "Clients train one by one": row["unfused"],
        "Incompatible plug-ins": ", ".join(f"`+{optimiser}`" for optimiser in row["no_plugins"]),
    }
    text = sections(
        _head(name, cls),
        "\n".join(f"- {label}: {escape(value)}" for label, value in facts.items() if value),
        _fields(name, cls, row["fields"]),
        _variants(name, cls),
        _tensors(name),
        _deviations(row["deviations"]),
    )
    return Page(f"methods/{name}.md", name, text)


def _of_variants(name: str, cls: Any, usual: dict[str, list[str]]) -> str:
    """What clients of the variants upload that upload other kinds than the method."""
    found = {variant: uploads.of(f"{name}:{variant}") for variant in cls.variants}
    other = (f"`:{variant}` {', '.join(own) or 'nothing'}" for variant, own in found.items() if [*own] != [*usual])
    return "; ".join(other)


def _plugin(name: str) -> Page:
    cls = registry.OPTIMISERS[name]
    row = method_row(f"+{name}", cls)
    incompatible = [method for method in sorted(registry.METHODS) if registry.misfit(method, name)]
    use = f"Append it to a method's name: `fedvpt+{name}`."
    use += f" Incompatible with {', '.join(f'`{method}`' for method in incompatible)}." if incompatible else ""
    text = sections(_head(f"+{name}", cls), use, _fields(name, cls, row["fields"]), _deviations(row["deviations"]))
    return Page(f"methods/{_plugin_page(name)}", f"+{name}", text)


def _head(name: str, cls: Any) -> str:
    source = cls.__module__.removeprefix("fedprompt.").replace(".", "/") + ".py"
    return sections(
        f"# {name}",
        escape(inspect.getdoc(cls) or ""),
        f"{paper(cls)}, {cls.year} · {cls.family} · `{source}`",
    )


def paper(cls: Any) -> str:
    """The paper of a method or plug-in, as a link if its address is known."""
    return f"[{escape(cls.paper)}]({cls.url})" if cls.url else escape(cls.paper)


def _fields(name: str, cls: Any, fields: list[dict[str, Any]]) -> str:
    if not fields:
        return ""
    hints, pairs = get_type_hints(cls), []
    for field in fields:
        hint = hints[field["name"]]
        kind = f"one of {', '.join(get_args(hint))}" if get_origin(hint) is Literal else field["type"]
        limits = f", {field['limits']}" if field["limits"] else ""
        pairs.append((f"{name}.{field['name']}={field['default']}", escape(f"{field['meaning']} ({kind}{limits})")))
    return f"## Hyperparameters\n\nSet with `--set`, as in `--set {pairs[0][0]}`.\n\n{definitions(pairs)}"


def _variants(name: str, cls: Any) -> str:
    pairs = [
        (
            f"{name}:{variant}",
            ", ".join(f"`{field}={value}`" for field, value in values.items())
            + ("; part of `--methods all`" if variant in cls.compared else ""),
        )
        for variant, values in cls.variants.items()
    ]
    return f"## Variants\n\n{definitions(pairs)}" if pairs else ""


def _tensors(name: str) -> str:
    rows = [
        (f"`{tensor}`", " x ".join(map(str, value.shape)) or "1", f"{prod(value.shape):,}", ROLES[part])
        for part, state in tensors(name).items()
        for tensor, value in state.items()
    ]
    note = (
        "On a ViT-B/16 with 100 classes. Other uploads, such as sums for prototypes, are listed in every record "
        "(`travelling` in `result.json`); [What leaves the client](uploads.md) says what they tell."
    )
    return f"## Tensors\n\n{note}\n\n{table(('tensor', 'shape', 'numbers', 'role'), rows)}" if rows else ""


def _deviations(texts: list[str]) -> str:
    items = "\n".join(f"- {escape(text)}" for text in texts)
    return f"## Differences from the paper\n\n{items}" if texts else ""


def _summary(cls: Any) -> str:
    """The first paragraph of a class's docstring as one line of Markdown."""
    return escape(" ".join((inspect.getdoc(cls) or "").partition("\n\n")[0].split()))
