"""`bench compare` and `bench verify`."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from fedprompt.benchmark.cli.common_options import Directory, Json, Metric, Unreadable, finite
from fedprompt.benchmark.errors import ConfigError


def compare(
    directory: Directory,
    a: Annotated[str | None, typer.Argument(metavar="[A]", help="a method, named as in `bench table`")] = None,
    b: Annotated[str | None, typer.Argument(metavar="[B]", help="the method to compare with")] = None,
    metric: Annotated[str, Metric] = "seen.mean",
    per_client: Annotated[
        bool, typer.Option("--clients", help="pair clients within each run, instead of runs by seed")
    ] = False,
    published: Annotated[bool, typer.Option("--published", help="compare published and measured numbers")] = False,
    family: Annotated[
        Literal["pair", "all"],
        typer.Option(help="p adjusted for this pair, or for all methods minus B, as a table has"),
    ] = "pair",
    margin: Annotated[
        float | None,
        typer.Option(help="margin of practical equivalence, in points (costs: in their unit)", min=0, callback=finite),
    ] = None,
    as_json: Json = False,
) -> int:
    """Compare two methods, or published and measured numbers.

    Prints the paired difference A minus B with interval and test, per setting and overall. With --margin, the interval
    also says whether A is better, equal or worse by more than the margin, or whether this is undecided.
    """
    import numpy as np

    from fedprompt.results.claims import literature, verdicts
    from fedprompt.results.records import frames
    from fedprompt.results.statistics import comparison, pairs

    unreadable = Unreadable()
    if published:
        if a is not None:
            raise ConfigError(f"bench compare --published compares all methods with papers: leave out {a}.")
        frame = literature.beside_published(frames.load(directory, unreadable=unreadable))
        print(json.dumps(verdicts.as_json(frame), indent=1) if as_json else verdicts.published(frame))
        return unreadable.code
    if a is None or b is None:
        raise ConfigError("bench compare DIR A B needs two methods, or --published.")
    if a == b:
        raise ConfigError(f"bench compare: cannot compare {a} with itself; name two methods.")
    if per_client:
        if margin is not None or family == "all":
            raise ConfigError("bench compare --clients compares one pair: leave out --margin and --family.")
        frame = pairs.per_client(frames.clients(directory, unreadable=unreadable), a, b, np.random.default_rng(0))
        print(json.dumps(verdicts.as_json(frame), indent=1) if as_json else verdicts.clients(frame, a, b))
        return unreadable.code
    share = None if margin is None else margin / 100 if pairs.is_accuracy(metric) else margin
    found = comparison.compare(frames.load(directory, unreadable=unreadable), metric, a, b, family, share)
    if as_json:
        answer: dict[str, Any] = {"a": a, "b": b, "metric": metric, "unit": "run", "family": family, "margin": margin}
        differences, improvement = verdicts.as_json(found.rows), found.improvement._asdict()
        answer |= {"differences": differences, "probability_of_improvement": improvement}
        print(json.dumps(answer, indent=1))
    else:
        print(verdicts.comparison(found))
    return unreadable.code


def verify(
    directory: Directory,
    claims: Annotated[Path | None, typer.Option(help="YAML file of claims (default: those of the package)")] = None,
    as_json: Json = False,
) -> int:
    """Check papers' claims against the runs of a directory: supported, contradicted, not significant or not tested."""
    import numpy as np

    from fedprompt.results.claims import verdicts, verification
    from fedprompt.results.records import frames

    unreadable = Unreadable()
    runs = frames.load(directory, unreadable=unreadable)
    findings = verification.verify(runs, verification.read(claims or verification.OURS), np.random.default_rng(0))
    if as_json:
        print(json.dumps([verdicts.finding_json(finding) for finding in findings], indent=1))
    else:
        print(verdicts.findings(findings))
    return unreadable.code
