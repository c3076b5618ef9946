"""`bench doctor` and `bench pretrain`."""

import json
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from fedprompt.benchmark.cli.common_options import Json
from fedprompt.benchmark.errors import ConfigError
from fedprompt.results.text import one_line


def doctor(
    data_root: Annotated[Path | None, typer.Option(help="folder of the data sets")] = None,
    as_json: Json = False,
) -> int:
    """Check the installation and suggest fixes: Python, torch, GPU, Ray, data sets, embedded weights and disk."""
    checks = {
        "python": _python,
        "torch": _torch,
        "cuda": _cuda,
        "ray": _ray,
        "data": lambda: _data(data_root),
        "backbone": _backbone,
        "disk": _disk,
    }
    rows = [_check(name, check) for name, check in checks.items()]
    if as_json:
        print(json.dumps(rows, indent=1))
    else:
        for row in rows:
            print(f"{'ok' if row['ok'] else 'FAULT':<6} {row['name']:<9} {row['says']}")
    return 0 if all(row["ok"] for row in rows) else 1


def _check(name: str, check: Callable[[], str]) -> dict[str, object]:
    try:
        return {"name": name, "ok": True, "says": check()}
    except Exception as error:  # any failure is a finding
        return {"name": name, "ok": False, "says": one_line(error)}


def _python() -> str:
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        raise ConfigError(
            f"Python {platform.python_version()} is not supported; create an environment with Python 3.11 to 3.13"
        )
    return platform.python_version()


def _torch() -> str:
    import timm
    import torch
    import torchvision

    torch.ones(2, 2) @ torch.ones(2, 2)
    return f"torch {torch.__version__}, torchvision {torchvision.__version__}, timm {timm.__version__}"


def _cuda() -> str:
    import torch

    if not torch.cuda.is_available():
        return "none; runs use the CPU. For a GPU, install a torch build that matches its driver"
    return f"{torch.cuda.get_device_name()}; use it with --device cuda"


def _ray() -> str:
    import ray

    return f"ray {ray.__version__}; sweeps use one worker per processor"


def _data(root: Path | None) -> str:
    from fedprompt.data import loading

    loading.load("digits", root)
    return "digits loads; use your own images with --datasets npz:FILE"


def _backbone() -> str:
    from fedprompt.benchmark.backbone.loading import load
    from fedprompt.benchmark.backbone.weights import EMBEDDED, EMBEDDED_WEIGHTS, identity

    digest = identity(EMBEDDED, None)
    if digest not in EMBEDDED_WEIGHTS.with_suffix(".md").read_text(encoding="utf-8"):
        raise ConfigError("the embedded weights do not match their model card; reinstall the package")
    load(EMBEDDED, classes=10)
    return f"{EMBEDDED} loads, sha256 {digest[:12]}..., as in its model card"


def _disk() -> str:
    import shutil

    free = shutil.disk_usage(Path.cwd()).free / 2**30
    if free < 1:
        raise ConfigError(
            f"{free:.1f} GiB free in {Path.cwd()}; free some space, or choose another directory with --out"
        )
    return f"{free:.0f} GiB free in {Path.cwd()}"


def pretrain(
    data: Annotated[Path, typer.Option(help="folder or tar archive of tiny-imagenet-200")],
    work: Annotated[Path, typer.Option(help="folder for checkpoints and the result")] = Path("runs/pretrain"),
    epochs: Annotated[int, typer.Option(min=1, help="passes over the training images")] = 12,
    seed: Annotated[int, typer.Option(help="seed of the weights and batches")] = 0,
    probe: Annotated[Path | None, typer.Option(help=".npz file for a linear probe after each epoch")] = None,
) -> None:
    """Pre-train the embedded backbone on Tiny-ImageNet. Resumes from the last finished epoch."""
    for path in (data, *([probe] if probe else [])):
        if not path.exists():
            raise ConfigError(
                f"{path} does not exist; --data takes the folder or archive of Tiny-ImageNet, --probe an .npz file."
            )
    from fedprompt.benchmark.backbone.pretrain import pretrain as train

    card = train(data, work, epochs, seed, probe)
    print(f"{work / str(card['weights'])}: {card['bytes']} bytes, sha256 {card['sha256']}")
