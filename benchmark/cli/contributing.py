"""`bench new-method`, `bench check` and `bench submit`."""

import dataclasses
import datetime
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedprompt.benchmark.cli.common_options import Directory, Json
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


def submit(
    directory: Directory,
    out: Annotated[Path | None, typer.Option(help="folder to write (default: results/published/NAME)")] = None,
    name: Annotated[str | None, typer.Option(help="name of the submission (default: that of the folder)")] = None,
    sample: Annotated[int, typer.Option(min=0, max=1000, help="runs to repeat and compare; 0: none")] = 2,
    sample_seed: Annotated[int, typer.Option(min=0, help="seed of the choice of these runs")] = 0,
    plugin: Annotated[list[str] | None, typer.Option(help="plug-in files that these runs used")] = None,
    data_root: Annotated[str | None, typer.Option(help="folder of the data sets, if it has moved")] = None,
    as_json: Json = False,
) -> int:
    """Make a folder of records, with a checklist, for a pull request into results/published.

    It holds the exported tables and records, table.md, table.csv, croissant.json, and a README with the facts that the
    records state. Exits with 1 if a repeated run has other numbers.
    """
    import numpy as np

    from fedprompt.benchmark.sharing import submit as sharing

    target = sharing.target_of(out, name, directory)
    generator = np.random.default_rng(sample_seed)
    repeated = sharing.submit(
        directory, target, sample, generator, plugin or (), data_root, lambda line: print(line, file=sys.stderr)
    )
    if as_json:
        print(json.dumps({"folder": str(target), "sample": [run._asdict() for run in repeated]}, indent=1))
    else:
        for run in repeated:
            print(f"{run.run_id} ({run.method} in {run.setting}, seed {run.seed}): {run.outcome}")
        print(f"{target}: the checklist is in README.md; complete it, and open a pull request")
    return int(any(run.same is False for run in repeated))


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
