"""A page for each method and optimiser plug-in, made from the registry."""

import inspect
from itertools import groupby
from math import prod
from types import SimpleNamespace
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints

from docs.pages.page import Page, definitions, plain, sections, table
from fedprompt.benchmark.cli.listing import method_row
from fedprompt.benchmark.simulation.random_streams import RandomStreams
from fedprompt.methods import registry
from fedprompt.methods.base import Backbone, State

VIT = SimpleNamespace(dim=768, depth=12, hidden=3072, patch_size=16, image_size=224, classes=100)
"""The shape of a ViT-B/16 with a head for 100 classes, which is all that initial tensors depend on."""
CLIENTS = 100
HOLDERS = {
    "shared": "trained by clients, averaged by the server",
    "local": "trained and kept by each client",
    "memory": "kept by the server, sent to clients",
    "private": "kept by the server",
}


def pages() -> list[tuple[str, list[Page]]]:
    """The index, under no name, and then each family with the pages of its methods; optimiser plug-ins are the last."""
    families = [(family, [_method(name, cls) for name, cls in members]) for family, members in _families()]
    plugins = [_plugin(name, cls) for name, cls in sorted(registry.OPTIMISERS.items())]
    return [("", [Page("methods/index.md", "All methods", _index())]), *families, ("optimiser plug-ins", plugins)]


def tensors(name: str) -> dict[str, State]:
    """A method's initial tensors on a ViT-B/16 with 100 classes, by who holds them; the keys of `HOLDERS`."""
    method, vit = registry.METHODS[name](), cast(Backbone, VIT)
    rng = RandomStreams("reference", "none", 0).torch
    made = (method.shared(vit, rng), method.local(vit, rng), method.memory(vit, rng), method.private(vit, rng, CLIENTS))
    return dict(zip(HOLDERS, made, strict=True))


def _families() -> list[tuple[str, list[tuple[str, Any]]]]:
    """The registered methods by family, in order of their names."""
    registry.discover()
    kinds = sorted(registry.METHODS.items(), key=lambda item: (item[1].family, item[0]))
    return [(family, list(members)) for family, members in groupby(kinds, lambda item: item[1].family)]


def _index() -> str:
    parts = []
    for family, members in _families():
        rows = [
            (f"[`{name}`]({name}.md)", _what(cls), str(cls.year), *(_size(name, part) for part in ("shared", "local")))
            for name, cls in members
        ]
        parts.append(
            f"## {family.capitalize()}\n\n{table(('method', 'what it is', 'year', 'shared', 'local'), rows, 3)}"
        )
    plugins = [
        (f"[`+{name}`](plug-in-{name}.md)", _what(cls), str(cls.year))
        for name, cls in sorted(registry.OPTIMISERS.items())
    ]
    return sections(
        "# Methods",
        "A method's name is `METHOD[:VARIANT][+OPTIMISER...]`. *Shared* are the parameters that clients train and the "
        "server averages, *local* those that each client trains and keeps, on a ViT-B/16 with 100 classes and with "
        "default fields.",
        *parts,
        "## Optimiser plug-ins",
        "Written behind a method, as in `fedvpt+fedprox`.",
        table(("plug-in", "what it is", "year"), plugins, 1),
    )


def _size(name: str, part: str) -> str:
    return f"{sum(value.numel() for value in tensors(name)[part].values()):,}"


def _method(name: str, cls: Any) -> Page:
    row = method_row(name, cls)
    refused = ", ".join(f"`+{plugin}`" for plugin in row["no_plugins"])
    facts = {
        "A client that may train predicts with": row["seen_with"],
        "A held-out client predicts with": row["held_out_with"] if row["held_out"] else "nothing, it has no model",
        "Reads the client's class prior": "yes" if row["uses_prior"] else "no",
        "Trains": "" if row["trained"] else "nothing",
        "Clients train one by one": row["unfused"],
        "Plug-ins that cannot act on it": refused,
    }
    text = sections(
        _head(name, cls),
        "\n".join(f"- {label}: {plain(value)}" for label, value in facts.items() if value),
        _fields(name, cls, row["fields"]),
        _variants(name, cls),
        _tensors(name),
        _deviations(row["deviations"]),
    )
    return Page(f"methods/{name}.md", name, text)


def _plugin(name: str, cls: Any) -> Page:
    row = method_row(f"+{name}", cls)
    refused = [method for method in sorted(registry.METHODS) if registry.misfit(method, name)]
    use = f"Write it behind a method: `fedvpt+{name}`."
    use += f" Not with {', '.join(f'`{method}`' for method in refused)}." if refused else ""
    text = sections(_head(f"+{name}", cls), use, _fields(name, cls, row["fields"]), _deviations(row["deviations"]))
    return Page(f"methods/plug-in-{name}.md", f"+{name}", text)


def _head(name: str, cls: Any) -> str:
    source = cls.__module__.replace(".", "/") + ".py"
    return sections(
        f"# {name}",
        plain(inspect.getdoc(cls) or ""),
        f"{plain(cls.paper)}, {cls.year} · {cls.family} · `{source}`",
    )


def _fields(name: str, cls: Any, fields: list[dict[str, Any]]) -> str:
    if not fields:
        return ""
    hints, pairs = get_type_hints(cls), []
    for field in fields:
        hint = hints[field["name"]]
        kind = f"one of {', '.join(get_args(hint))}" if get_origin(hint) is Literal else field["type"]
        limits = f", {field['limits']}" if field["limits"] else ""
        pairs.append((f"{name}.{field['name']}={field['default']}", plain(f"{field['meaning']} ({kind}{limits})")))
    return f"## Fields\n\nSet with `--set`, as in `--set {pairs[0][0]}`.\n\n{definitions(pairs)}"


def _variants(name: str, cls: Any) -> str:
    pairs = [
        (f"{name}:{variant}", ", ".join(f"`{field}={value}`" for field, value in values.items()))
        for variant, values in cls.variants.items()
    ]
    return f"## Variants\n\n{definitions(pairs)}" if pairs else ""


def _tensors(name: str) -> str:
    rows = [
        (f"`{tensor}`", " x ".join(map(str, value.shape)) or "1", f"{prod(value.shape):,}", HOLDERS[part])
        for part, held in tensors(name).items()
        for tensor, value in held.items()
    ]
    told = (
        "On a ViT-B/16 with 100 classes. What a method sends beside these, such as sums for prototypes, stands in "
        "every record (`travelling` in `result.json`)."
    )
    return f"## Tensors\n\n{told}\n\n{table(('tensor', 'shape', 'numbers', 'who has it'), rows)}" if rows else ""


def _deviations(texts: list[str]) -> str:
    shown = "\n".join(f"- {plain(text)}" for text in texts)
    return f"## Differences from the paper\n\n{shown}" if texts else ""


def _what(cls: Any) -> str:
    """The first paragraph of a class's docstring, in one line of Markdown."""
    return plain(" ".join((inspect.getdoc(cls) or "").partition("\n\n")[0].split()))
