"""A run in progress as one safetensors file: what training has changed and the outcome so far, never the backbone.

A run that continues from its last completed round ends with the same numbers as an undisturbed one.
"""

import hashlib
import json
from functools import lru_cache
from inspect import getfile
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, NonNegativeFloat, NonNegativeInt
from safetensors import SafetensorError
from safetensors.torch import load, save

from fedprompt.benchmark.hardware.devices import kernels
from fedprompt.benchmark.simulation.simulator import Simulator
from fedprompt.methods.base import State

FORMAT: Literal[1] = 1
SOURCES = (
    "methods",
    "data",
    *(f"benchmark/{part}" for part in ("hardware", "backbone", "config", "simulation", "runs")),
)
"""Folders whose code a run's numbers depend on, apart from the file of a plug-in."""


class CheckpointError(ValueError):
    """A checkpoint that a run cannot continue from; the message completes "the checkpoint ..."."""


class CheckpointHeader(BaseModel):
    """The metadata of a checkpoint.

    Attributes:
        code: Hash of the source code.
        kernels: The arithmetic kernels that computed it.
        clients: Clients with tensors in it, by part, in the order in which they first trained: sums over clients take
            this order.
        resumed: Where earlier attempts continued from.
    """

    model_config = ConfigDict(strict=True, extra="forbid")
    format: Literal[1]
    run_id: str
    code: str
    kernels: str
    round: NonNegativeInt
    seconds: NonNegativeFloat
    clients: dict[str, list[NonNegativeInt]]
    rounds_trained: list[NonNegativeInt]
    outcome: dict[str, Any]
    used: str
    width: int | None
    notes: list[str]
    resumed: list[dict[str, Any]]


def pack(run: Simulator, run_id: str, seconds: float, resumed: list[dict[str, Any]]) -> bytes:
    """The checkpoint of a simulation after its last completed round, `seconds` after its start."""
    state = run.state_dict()
    assert state["round"] is not None, "a checkpoint is taken after a round"
    tensors = {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in state.pop("tensors").items()
    }
    header = CheckpointHeader(
        format=FORMAT,
        run_id=run_id,
        code=code_hash(run),
        kernels=kernels(run.context.vit.device),
        seconds=seconds,
        resumed=resumed,
        **state.pop("executor"),
        **state,
    )
    text = json.dumps(header.model_dump())
    return save(tensors, {"head": text, "digest": _digest(text, tensors)})


def unpack(content: bytes, run_id: str) -> tuple[CheckpointHeader, State]:
    """Reads the checkpoint of a run.

    Raises:
        CheckpointError: It is damaged, or belongs to another run.
    """
    try:
        tensors = load(content)
        length = int.from_bytes(content[:8], "little")
        facts = json.loads(content[8 : 8 + length])["__metadata__"]
        text = facts["head"]
        if facts["digest"] != _digest(text, tensors):
            raise CheckpointError("was changed after it was written")
        header = json.loads(text)
        if header["format"] != FORMAT:
            raise CheckpointError(f"has format {header['format']}, and this version writes {FORMAT}")
        if header["run_id"] != run_id:
            raise CheckpointError(f"belongs to another run, {header['run_id']}")
        return CheckpointHeader.model_validate(header), tensors
    except CheckpointError:
        raise
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError("is truncated or no checkpoint") from error


def restore(run: Simulator, header: CheckpointHeader, tensors: State) -> None:
    """Lets a new simulation continue from a checkpoint.

    Raises:
        CheckpointError: It does not fit the simulation, which is then unchanged.
    """
    if header.code != code_hash(run):
        raise CheckpointError("was written by other code, so the remaining rounds would differ")
    saved = header.model_dump(include={"round", "clients", "rounds_trained", "outcome"}) | {"tensors": tensors}
    same_machine = header.kernels == kernels(run.context.vit.device)
    saved["executor"] = header.model_dump(include={"used", "width", "notes"}) if same_machine else None
    try:
        run.load_state_dict(saved)
    except ValueError as error:
        raise CheckpointError(str(error)) from error


def _digest(text: str, tensors: State) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def code_hash(run: Simulator) -> str:
    """A hash of the source code that a run's numbers depend on, that of its plug-ins included."""
    own = {getfile(type(part)) for part in (run.context.method, *run.context.recipe.optimisers)}
    return _hashed(tuple(sorted(own)))


@lru_cache(maxsize=64)
def _hashed(own: tuple[str, ...]) -> str:
    root = Path(__file__).parents[2]
    files = [path for folder in SOURCES for path in (root / folder).rglob("*.py")] + [Path(file) for file in own]
    texts = sorted((path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in files)
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()
