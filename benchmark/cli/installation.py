"""`bench doctor` and `bench pretrain`: this machine, and the backbone made on it."""

import json
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from fedprompt.benchmark.errors import ConfigError

Json = Annotated[bool, typer.Option("--json", help="machine-readable output")]


def doctor(
    data_root: Annotated[Path | None, typer.Option(help="folder that data sets are kept in")] = None,
    as_json: Json = False,
) -> int:
    """What works here: Python, torch, device, Ray, data sets, embedded weights, disk; and what mends what does not."""
    checks = {
        "python": _python,
        "torch": _torch,
        "cuda": _cuda,
        "ray": _ray,
        "data": lambda: _data(data_root),
        "backbone": _backbone,
        "disk": _disk,
    }
    rows = [_examined(name, check) for name, check in checks.items()]
    if as_json:
        print(json.dumps(rows, indent=1))
    else:
        for row in rows:
            print(f"{'ok' if row['ok'] else 'FAULT':<6} {row['name']:<9} {row['says']}")
    return 0 if all(row["ok"] for row in rows) else 1


def _examined(name: str, check: Callable[[], str]) -> dict[str, object]:
    try:
        return {"name": name, "ok": True, "says": check()}
    except Exception as error:  # whatever is broken here is what the doctor was called for
        return {"name": name, "ok": False, "says": f"{type(error).__name__}: {error}"}


def _python() -> str:
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        raise ConfigError(f"Python {platform.python_version()} is not 3.11 to 3.13; make the environment with one")
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
        return "none; runs use the CPU (with a GPU: install a torch build that matches its driver)"
    return f"{torch.cuda.get_device_name()}; ask for it with --device cuda"


def _ray() -> str:
    import ray

    return f"ray {ray.__version__}; sweeps run one worker a processor"


def _data(root: Path | None) -> str:
    from fedprompt.data import loading

    loading.load("digits", root)
    return "digits loads; an .npz of your own: --datasets npz:FILE"


def _backbone() -> str:
    from fedprompt.benchmark.backbone.loading import load
    from fedprompt.benchmark.backbone.weights import EMBEDDED, EMBEDDED_WEIGHTS, identity

    digest = identity(EMBEDDED, None)
    if digest not in EMBEDDED_WEIGHTS.with_suffix(".md").read_text(encoding="utf-8"):
        raise ConfigError("the embedded weights are not those of their model card; install the package again")
    load(EMBEDDED, classes=10)
    return f"{EMBEDDED} loads, sha256 {digest[:12]}... as its card says"


def _disk() -> str:
    import shutil

    free = shutil.disk_usage(Path.cwd()).free / 2**30
    if free < 1:
        raise ConfigError(f"{free:.1f} GiB left in {Path.cwd()}; free some, or name another place with --out")
    return f"{free:.0f} GiB left in {Path.cwd()}"


def pretrain(
    data: Annotated[Path, typer.Option(help="tiny-imagenet-200, as its folder or a tar archive")],
    work: Annotated[Path, typer.Option(help="folder for checkpoints and the result")] = Path("runs/pretrain"),
    epochs: Annotated[int, typer.Option(min=1, help="passes over the training images")] = 12,
    seed: Annotated[int, typer.Option(help="seed of weights and batches")] = 0,
    probe: Annotated[Path | None, typer.Option(help="an .npz to fit a linear probe on after each epoch")] = None,
) -> None:
    """Pre-trains the embedded backbone on Tiny-ImageNet; goes on from its last epoch when it was interrupted."""
    for path in (data, *([probe] if probe else [])):
        if not path.exists():
            raise ConfigError(f"{path} does not exist; name the folder or archive of Tiny-ImageNet, and an .npz.")
    from fedprompt.benchmark.backbone.pretrain import pretrain as train

    measured = train(data, work, epochs, seed, probe)
    print(f"{work / str(measured['weights'])}: {measured['bytes']} bytes, sha256 {measured['sha256']}")
