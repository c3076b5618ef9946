"""`bench new-method` and `bench check`: adding a method, and whether it keeps the contract."""

import dataclasses
import datetime
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedprompt.benchmark.errors import ConfigError

if TYPE_CHECKING:
    from fedprompt.benchmark.contract.check import Finding


def new_method(
    name: Annotated[str, typer.Argument(metavar="NAME", help="as in my-method")],
    out: Annotated[Path, typer.Option(help="folder of the file", show_default="here")] = Path("."),
) -> None:
    """Writes NAME.py, a method to start from; `bench check` says what it still lacks."""
    from fedprompt.benchmark.contract import template as scaffold

    path = scaffold.write(name, out, datetime.date.today().year)
    print(f"{path}: bench check {path} says what it lacks, bench run --plugin {path} --method {name} runs it.")


def check(
    what: Annotated[str, typer.Argument(metavar="NAME|FILE", help="a method, a wildcard, or a .py file with methods")],
    as_json: Annotated[bool, typer.Option("--json", help="machine-readable output")] = False,
) -> int:
    """Checks a method against the whole contract on a toy federation, and says in plain words what is broken."""
    from fedprompt.benchmark.contract import check as contract
    from fedprompt.benchmark.runs.execute import use_threads
    from fedprompt.methods import registry

    names = _in_file(Path(what)) if what.endswith(".py") else registry.expand([what])
    use_threads(1)
    found = {}
    for name in names:
        found[name] = contract.check(registry.create(name))
        if not as_json:
            _print(name, found[name])
    if as_json:
        print(json.dumps({name: [dataclasses.asdict(f) for f in own] for name, own in found.items()}, indent=1))
    return int(any(finding.state == "broken" for own in found.values() for finding in own))


def _in_file(path: Path) -> list[str]:
    """The methods that a file registers, their variants, and its optimiser plug-ins, each on `head`."""
    from fedprompt.methods import registry

    registry.discover()
    if not path.is_file():
        raise ConfigError(f"bench check {path}: there is no such file.")
    registry.load_plugin(path)

    def inside(cls: type) -> bool:
        file = getattr(sys.modules[cls.__module__], "__file__", None)
        return file is not None and Path(file).resolve() == path.resolve()

    methods = {name: cls for name, cls in registry.METHODS.items() if inside(cls)}
    variants = [f"{name}:{variant}" for name, cls in methods.items() for variant in cls.variants]
    plugins = [f"head+{name}" for name, cls in registry.OPTIMISERS.items() if inside(cls)]
    return [*methods, *variants, *plugins]


def _print(name: str, findings: "list[Finding]") -> None:
    print(name)
    for finding in findings:
        word = {"ok": "ok", "broken": "BROKEN", "n/a": "n/a"}[finding.state]
        why = f": {finding.why}" if finding.why else ""
        print(f"  {word:<7} {finding.about}{why}.")
    broken = sum(finding.state == "broken" for finding in findings)
    print(f"  {broken} of {len(findings)} broken" if broken else "  the contract holds")
