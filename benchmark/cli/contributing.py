"""`bench new-method` and `bench check`."""

import dataclasses
import datetime
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedprompt.benchmark.cli.common_options import Json
from fedprompt.benchmark.errors import ConfigError

if TYPE_CHECKING:
    from fedprompt.benchmark.contract.check import Finding


def new_method(
    name: Annotated[str, typer.Argument(metavar="NAME", help="such as my-method")],
    out: Annotated[Path, typer.Option(help="folder of the file", show_default="here")] = Path("."),
) -> None:
    """Create NAME.py, a template of a method. `bench check` lists what is missing."""
    from fedprompt.benchmark.contract import template

    path = template.write(name, out, datetime.date.today().year)
    print(f"created {path}. Check it: bench check {path}; run it: bench run --plugin {path} --method {name}")


def check(
    what: Annotated[str, typer.Argument(metavar="NAME|FILE", help="a method, a wildcard, or a .py file of methods")],
    as_json: Json = False,
) -> int:
    """Check a method against the contract on a toy federation and explain each violation."""
    from fedprompt.benchmark.contract import check as contract
    from fedprompt.benchmark.runs.execute import use_threads
    from fedprompt.methods import registry

    names = _in_file(Path(what)) if what.endswith(".py") else registry.expand([what])
    use_threads(1)
    findings: dict[str, list[Finding]] = {}
    for name in names:
        findings[name] = contract.check(registry.create(name))
        if not as_json:
            _print(name, findings[name])
    if as_json:
        print(json.dumps({name: list(map(dataclasses.asdict, rows)) for name, rows in findings.items()}, indent=1))
    return int(any(finding.state == "broken" for rows in findings.values() for finding in rows))


def _in_file(path: Path) -> list[str]:
    """The methods that a file registers, their variants, and its optimisers, each combined with `head`."""
    from fedprompt.methods import registry

    registry.discover()
    if not path.is_file():
        raise ConfigError(f"bench check {path}: file not found.")
    registry.load_plugin(path)

    def in_file(cls: type) -> bool:
        file = getattr(sys.modules[cls.__module__], "__file__", None)
        return file is not None and Path(file).resolve() == path.resolve()

    methods = {name: cls for name, cls in registry.METHODS.items() if in_file(cls)}
    variants = [f"{name}:{variant}" for name, cls in methods.items() for variant in cls.variants]
    optimisers = [f"head+{name}" for name, cls in registry.OPTIMISERS.items() if in_file(cls)]
    return [*methods, *variants, *optimisers]


def _print(name: str, findings: "list[Finding]") -> None:
    print(name)
    for finding in findings:
        word = "BROKEN" if finding.state == "broken" else finding.state
        why = f": {finding.why}" if finding.why else ""
        print(f"  {word:<7} {finding.about}{why}.")
    broken = sum(finding.state == "broken" for finding in findings)
    print(f"  {broken} of {len(findings)} checks failed" if broken else "  all checks passed")
