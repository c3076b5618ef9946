"""`python -m fedprompt.benchmark.frameworks`: compares this simulator with other frameworks on the same job."""

import dataclasses
import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedprompt.benchmark.backbone.weights import EMBEDDED
from fedprompt.benchmark.errors import ConfigError, did_you_mean
from fedprompt.benchmark.frameworks.outcome import FRAMEWORKS
from fedprompt.data.errors import DataError

if TYPE_CHECKING:
    from fedprompt.benchmark.frameworks.plan import Plan
    from fedprompt.benchmark.frameworks.table import Row

PUBLISHED = Path(__file__).resolve().parents[2] / "results" / "published" / "perf"


def main(
    clients: Annotated[str, typer.Option(help="numbers of clients; only the first runs with all seeds")] = "100,1000",
    rounds: Annotated[int, typer.Option(min=1, help="rounds of training")] = 20,
    backbone: Annotated[str, typer.Option(help="the embedded ViT, or any plain ViT of timm")] = EMBEDDED,
    checkpoint: Annotated[str | None, typer.Option(help="weights file for the backbone")] = None,
    image_size: Annotated[int | None, typer.Option(min=8, help="side of the images [default: the backbone's]")] = None,
    images: Annotated[int, typer.Option(min=1, help="training images per client")] = 50,
    tests: Annotated[int, typer.Option(min=1, help="test images per client")] = 10,
    cohort: Annotated[int, typer.Option(min=1, help="clients per round")] = 10,
    lr: Annotated[float, typer.Option(min=0, help="learning rate of the local SGD")] = 0.05,
    frameworks: Annotated[
        str, typer.Option("--frameworks", "--peers", help=f"any of {', '.join(FRAMEWORKS)}")
    ] = ",".join(FRAMEWORKS),
    seeds: Annotated[str, typer.Option(help="seeds")] = "0,1,2",
    out: Annotated[Path, typer.Option(help="folder for data, logs and the table")] = Path("runs/peers"),
    environments: Annotated[
        Path | None, typer.Option(help="folder of the frameworks' environments [default: OUT/environments]")
    ] = None,
    python: Annotated[
        list[str] | None,
        typer.Option(help="NAME=FILE: the Python of a framework's environment, as blazefl=python3.14t; repeatable"),
    ] = None,
    publish: Annotated[bool, typer.Option("--publish", help="also write the table to results/published/perf")] = False,
) -> int:
    """Compare this simulator with other frameworks on one job: seconds per round and in total, memory, accuracy."""
    names, counts, numbers = _names(frameworks), _numbers("--clients", clients, 2), _numbers("--seeds", seeds, 0)
    pythons = _pythons(python or [])
    from fedprompt.benchmark.frameworks import table
    from fedprompt.benchmark.frameworks.compare import compare
    from fedprompt.benchmark.frameworks.environments import Environments
    from fedprompt.benchmark.frameworks.plan import Plan

    file = None if checkpoint is None else str(Path(checkpoint).absolute())
    plan = Plan(backbone, file, image_size, images, tests, cohort, rounds, lr=lr)
    places = Environments(environments or out / "environments", pythons)
    result = compare(plan, counts, numbers, names, out, places, lambda line: print(line, file=sys.stderr, flush=True))
    failures = [*result.failures, *table.disagreements(result.rows, tests)]
    _write(out, plan, result.rows)
    if publish and result.rows:
        _write(PUBLISHED, plan, result.rows)
    print(table.text(result.rows) if result.rows else "No measurements.")
    for failure in failures:
        print(f"error: {failure}", file=sys.stderr)
    return 1 if failures else 0


def _names(text: str) -> list[str]:
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in FRAMEWORKS:
            hint = did_you_mean(name, FRAMEWORKS)
            raise ConfigError(f"--frameworks {name}: unknown{hint}; available: {', '.join(FRAMEWORKS)}.")
    if not names:
        raise ConfigError(f"--frameworks is empty; available: {', '.join(FRAMEWORKS)}.")
    return names


def _pythons(words: list[str]) -> dict[str, Path]:
    pythons = {}
    for word in words:
        name, _, file = word.partition("=")
        if name not in FRAMEWORKS or not file:
            hint = did_you_mean(name, FRAMEWORKS)
            raise ConfigError(f"--python {word}: need NAME=FILE{hint}; names are {', '.join(FRAMEWORKS)}.")
        path = shutil.which(file)
        if path is None:
            raise ConfigError(f"--python {word}: {file} is no program; give the path of a Python interpreter.")
        pythons[name] = Path(path)
    return pythons


def _numbers(option: str, text: str, low: int) -> list[int]:
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and int(word) >= low for word in words):
        raise ConfigError(f"{option} {text}: need integers of at least {low}, separated by commas.")
    return list(dict.fromkeys(map(int, words)))


def _write(folder: Path, plan: "Plan", rows: list["Row"]) -> None:
    """Writes `peers.json` and `peers.md`; other backbones than the embedded one are part of the file names."""
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
    click_error: Any = typer.BadParameter.__mro__[2]  # typer does not export the base class of its parser's errors
    try:
        return int(app(standalone_mode=False))
    except (ConfigError, DataError) as error:
        print(f"error: {error}", file=sys.stderr)
    except click_error as error:
        print(f"error: {error.format_message()}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(_run())
