"""`python -m fedprompt.benchmark.frameworks`: the table that compares this simulator with others on the same job."""

import dataclasses
import difflib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedprompt.benchmark.backbone.weights import EMBEDDED
from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.frameworks.outcome import PEERS
from fedprompt.data.errors import DataError

if TYPE_CHECKING:
    from fedprompt.benchmark.frameworks.job import Plan
    from fedprompt.benchmark.frameworks.table import Row

PUBLISHED = Path(__file__).parents[2] / "results" / "published" / "perf"


def main(
    clients: Annotated[str, typer.Option(help="numbers of clients; all seeds run at the first")] = "100,1000",
    rounds: Annotated[int, typer.Option(min=1, help="rounds of training")] = 20,
    backbone: Annotated[str, typer.Option(help="the embedded ViT, or any plain ViT of timm")] = EMBEDDED,
    checkpoint: Annotated[str | None, typer.Option(help="weights file for the backbone")] = None,
    image_size: Annotated[int | None, typer.Option(min=8, help="side of the images [default: the backbone's]")] = None,
    images: Annotated[int, typer.Option(min=1, help="training images a client")] = 50,
    tests: Annotated[int, typer.Option(min=1, help="test images a client")] = 10,
    cohort: Annotated[int, typer.Option(min=1, help="clients a round")] = 10,
    lr: Annotated[float, typer.Option(min=0, help="learning rate of the local SGD")] = 0.05,
    peers: Annotated[str, typer.Option(help=f"contestants, of {', '.join(PEERS)}")] = ",".join(PEERS),
    seeds: Annotated[str, typer.Option(help="seeds")] = "0,1,2",
    out: Annotated[Path, typer.Option(help="folder for environments, data, logs and the table")] = Path("runs/peers"),
    publish: Annotated[bool, typer.Option("--publish", help="also write the table to results/published/perf")] = False,
) -> int:
    """The same federated job in this simulator and in others: seconds a round and a job, peak memory, accuracy."""
    chosen, counts, numbers = _known(peers), _numbers("--clients", clients, 2), _numbers("--seeds", seeds, 0)
    from fedprompt.benchmark.frameworks import table
    from fedprompt.benchmark.frameworks.compare import compare
    from fedprompt.benchmark.frameworks.job import Plan

    file = None if checkpoint is None else str(Path(checkpoint).absolute())
    plan = Plan(backbone, file, image_size, images, tests, cohort, rounds, lr=lr)
    found = compare(plan, counts, numbers, chosen, out, lambda line: print(line, file=sys.stderr, flush=True))
    faults = [*found.faults, *table.disagreements(found.rows, tests)]
    _write(out, plan, found.rows)
    if publish and found.rows:
        _write(PUBLISHED, plan, found.rows)
    print(table.text(found.rows) if found.rows else "nothing was measured.")
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)
    return 1 if faults else 0


def _known(peers: str) -> list[str]:
    names = list(dict.fromkeys(name.strip() for name in peers.split(",") if name.strip()))
    for name in names:
        if name not in PEERS:
            close = difflib.get_close_matches(name, PEERS, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise ConfigError(f"--peers {name}: unknown{hint}; there are {', '.join(PEERS)}.")
    if not names:
        raise ConfigError(f"--peers names none; there are {', '.join(PEERS)}.")
    return names


def _numbers(option: str, given: str, low: int) -> list[int]:
    words = [word.strip() for word in given.split(",")]
    if not all(word.isdecimal() and int(word) >= low for word in words):
        raise ConfigError(f"{option} {given}: need whole numbers from {low}, with commas between them.")
    return list(dict.fromkeys(map(int, words)))


def _write(folder: Path, plan: "Plan", rows: list["Row"]) -> None:
    """Writes `peers.json` and `peers.md`, with the backbone's name in them where it is not the embedded one."""
    from fedprompt.benchmark.frameworks import table
    from fedprompt.benchmark.hardware import environment

    folder.mkdir(parents=True, exist_ok=True)
    content = dataclasses.asdict(plan)
    content["checkpoint"] = None if content["checkpoint"] is None else Path(content["checkpoint"]).name
    name = "peers" if content["backbone"] == EMBEDDED else f"peers.{content['backbone']}"
    measured = {"plan": content, "environment": environment.describe(), "rows": [dataclasses.asdict(r) for r in rows]}
    (folder / f"{name}.json").write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    facts = ", ".join(f"{key} {value}" for key, value in content.items() if value is not None)
    (folder / f"{name}.md").write_text(f"{table.markdown(rows)}\n\n{facts}.\n", encoding="utf-8")


def _run() -> int:
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command()(main)
    click_error: Any = typer.BadParameter.__mro__[2]  # typer exports no other name for its parser's errors
    try:
        return int(app(standalone_mode=False))
    except (ConfigError, DataError) as error:
        print(f"error: {error}", file=sys.stderr)
    except click_error as error:
        print(f"error: {error.format_message()}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(_run())
