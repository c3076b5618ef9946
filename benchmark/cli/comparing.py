"""`bench compare` and `bench verify`: two methods, published numbers and claims against what was measured."""

import json
from pathlib import Path
from typing import Annotated

import typer

from fedprompt.benchmark.errors import ConfigError

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="a directory of runs")]
Json = Annotated[bool, typer.Option("--json", help="machine-readable output")]


def compare(
    directory: Directory,
    a: Annotated[str | None, typer.Argument(metavar="[A]", help="a method, as `bench table` names it")] = None,
    b: Annotated[str | None, typer.Argument(metavar="[B]", help="the method it is compared with")] = None,
    metric: Annotated[str, typer.Option(help="as seen.mean, held_out.worst, prior.seen.mean, upload_mb or seconds")] = (
        "seen.mean"
    ),
    per_client: Annotated[
        bool, typer.Option("--clients", help="clients paired within each run, in place of runs paired by seed")
    ] = False,
    published: Annotated[bool, typer.Option("--published", help="published numbers beside measured ones")] = False,
    as_json: Json = False,
) -> None:
    """A minus B: paired difference, interval and test, per setting and overall; or published numbers beside ours."""
    import numpy as np

    from fedprompt.results.claims import literature, verdicts
    from fedprompt.results.records import frames as records
    from fedprompt.results.statistics import pairs

    if published:
        if a is not None:
            raise ConfigError(f"bench compare --published sets all methods beside papers: leave out {a}.")
        frame = literature.beside_published(records.load(directory))
        print(json.dumps(verdicts.as_json(frame), indent=1) if as_json else verdicts.published(frame))
        return
    if a is None or b is None:
        raise ConfigError("bench compare DIR A B needs two methods, or --published.")
    if a == b:
        raise ConfigError(f"bench compare: {a} with itself says nothing; name two methods.")
    generator = np.random.default_rng(0)
    if per_client:
        frame = pairs.per_client(records.clients(directory), a, b, generator)
        print(json.dumps(verdicts.as_json(frame), indent=1) if as_json else verdicts.clients(frame, a, b))
        return
    runs = records.load(directory)
    frame = pairs.differences(runs, metric, b, generator, [a])
    improvement = pairs.probability_of_improvement(runs, metric, a, b)
    if as_json:
        whole = {"a": a, "b": b, "metric": metric, "unit": "run", "differences": verdicts.as_json(frame)}
        print(json.dumps(whole | {"probability_of_improvement": improvement._asdict()}, indent=1))
    else:
        print(verdicts.comparison(frame, a, b, metric, improvement))


def verify(
    directory: Directory,
    claims: Annotated[Path | None, typer.Option(help="a yaml file of claims (default: the package's own)")] = None,
    as_json: Json = False,
) -> None:
    """Papers' claims against the runs of a directory: supported, contradicted, not significant or not tested."""
    import numpy as np

    from fedprompt.results.claims import verdicts
    from fedprompt.results.claims import verification as claim_files
    from fedprompt.results.records import frames as records

    read = claim_files.read(claims or claim_files.OURS)
    found = claim_files.verify(records.load(directory), read, np.random.default_rng(0))
    if as_json:
        print(json.dumps([verdicts.finding_json(finding) for finding in found], indent=1))
    else:
        print(verdicts.findings(found))
