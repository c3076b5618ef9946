"""`bench compare` and `bench verify`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fedprompt.benchmark.cli.common_options import Directory, Json, Unreadable, finite
from fedprompt.benchmark.cli.selection_options import selection_options
from fedprompt.benchmark.errors import ConfigError

if TYPE_CHECKING:
    from fedprompt.results.claims.verification import Claim
    from fedprompt.results.records.selection import Selection
    from fedprompt.results.statistics.comparison import Comparison


@selection_options
def compare(
    selection: "Selection",
    directory: Directory,
    a: Annotated[str | None, typer.Argument(metavar="[A]", help="a method, named as in `bench table`")] = None,
    b: Annotated[str | None, typer.Argument(metavar="[B]", help="the method to compare with")] = None,
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
    from fedprompt.results.records.selection import metrics
    from fedprompt.results.statistics import comparison, pairs

    unreadable = Unreadable()
    run_ids = selection.run_ids(directory, unreadable)
    if published:
        if a is not None:
            raise ConfigError(f"bench compare --published compares all methods with papers: leave out {a}.")
        frame = literature.beside_published(frames.load(directory, run_ids, unreadable))
        print(json.dumps(verdicts.as_json(frame), indent=1) if as_json else verdicts.published(frame))
        return unreadable.code
    if a is None or b is None:
        raise ConfigError("bench compare DIR A B needs two methods, or --published.")
    if a == b:
        raise ConfigError(f"bench compare: cannot compare {a} with itself; name two methods.")
    if per_client:
        if margin is not None or family == "all":
            raise ConfigError("bench compare --clients compares one pair: leave out --margin and --family.")
        frame = pairs.per_client(frames.clients(directory, run_ids, unreadable), a, b, np.random.default_rng(0))
        print(json.dumps(verdicts.as_json(frame), indent=1) if as_json else verdicts.clients(frame, a, b))
        return unreadable.code
    runs = frames.load(directory, run_ids, unreadable)
    found = [
        comparison.compare(runs, metric, a, b, family, _as_share(margin, pairs.is_accuracy(metric)))
        for metric in selection.metrics_of(metrics(runs)) or ["seen.mean"]
    ]
    if as_json:
        answers = [_json(each, margin) for each in found]
        print(json.dumps(answers if len(answers) > 1 else answers[0], indent=1))
    else:
        print("\n\n".join(map(verdicts.comparison, found)))
    return unreadable.code


def _as_share(margin: float | None, is_accuracy: bool) -> float | None:
    return margin / 100 if margin is not None and is_accuracy else margin


def _json(found: "Comparison", margin: float | None) -> dict[str, Any]:
    from fedprompt.results.claims import verdicts

    names = {"a": found.a, "b": found.b, "metric": found.metric, "unit": "run", "family": found.family}
    differences, improvement = verdicts.as_json(found.rows), found.improvement._asdict()
    return names | {"margin": margin, "differences": differences, "probability_of_improvement": improvement}


@selection_options
def verify(
    selection: "Selection",
    directory: Directory,
    claims: Annotated[Path | None, typer.Option(help="YAML file of claims (default: those of the package)")] = None,
    as_json: Json = False,
) -> int:
    """Check papers' claims against the runs of a directory: supported, contradicted, not significant or not tested."""
    import numpy as np

    from fedprompt.results.claims import verdicts, verification
    from fedprompt.results.records import frames

    unreadable = Unreadable()
    runs = frames.load(directory, selection.run_ids(directory, unreadable), unreadable)
    checked = _about(selection, verification.read(claims or verification.OURS))
    findings = verification.verify(runs, checked, np.random.default_rng(0))
    if as_json:
        print(json.dumps([verdicts.finding_json(finding) for finding in findings], indent=1))
    else:
        print(verdicts.findings(findings))
    return unreadable.code


def _about(selection: "Selection", claims: "list[Claim]") -> "list[Claim]":
    """The claims about a chosen metric; all without a choice."""
    chosen = selection.metrics_of(dict.fromkeys(name for claim in claims for name in claim.check.metrics))
    return [claim for claim in claims if not chosen or set(chosen) & set(claim.check.metrics)]
