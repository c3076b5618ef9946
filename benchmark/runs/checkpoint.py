"""A run under way as one safetensors file: what training has moved and the outcome so far, never the backbone.

Random draws follow from (purpose, round, client) and initial tensors from the seed, so neither is in it. A run that
goes on from its last finished round has the numbers that it would have had undisturbed.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from functools import lru_cache
from inspect import getfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, NonNegativeFloat, NonNegativeInt, TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save

from fedprompt.benchmark.hardware.devices import kernels
from fedprompt.benchmark.simulation.simulator import Outcome, Simulator
from fedprompt.methods.base import State

FORMAT: Literal[1] = 1
SOURCES = (
    "methods",
    "data",
    "benchmark/hardware",
    "benchmark/backbone",
    "benchmark/config",
    "benchmark/simulation",
    "benchmark/runs",
)
"""Folders whose code a run's numbers depend on, beside the file of a plug-in."""
PER_CLIENT: dict[str, Callable[[Simulator], State]] = {
    "local": lambda run: {**{name: run.server[name] for name in run.method.personal_copies}, **run.initial_local},
    "optimiser_local": lambda run: run.optimiser_initial,
}
"""What a simulation holds for each client that has trained, by attribute, and a state of the same names and shapes."""


class CheckpointError(ValueError):
    """A checkpoint that a run cannot go on from."""


class CheckpointHeader(BaseModel):
    """What a checkpoint says beside its tensors.

    `code` is a hash of the sources, `kernels` what computed it, `clients` who is in it, in the order in which they
    first trained (means over them are sums in that order), `resumed` where earlier attempts went on from.
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
    """The content of a checkpoint after the round that a simulation has reached, `seconds` after its start."""
    assert run.reached is not None, "a run is kept after a round"
    head = CheckpointHeader(
        format=FORMAT,
        run_id=run_id,
        code=code_of(run),
        kernels=kernels(run.vit.device),
        round=run.reached,
        seconds=seconds,
        clients={held: list(getattr(run, held)) for held in PER_CLIENT},
        rounds_trained=run.rounds_trained.tolist(),
        outcome=asdict(run.outcome),
        used=run.executor.used,
        width=run.executor.width,
        notes=run.executor.notes,
        resumed=resumed,
    )
    parts = {"server": {k: v for k, v in run.server.items() if v is not run.initial_server.get(k)}}
    parts |= {f"optimiser/{i}": memory for i, memory in enumerate(run.optimiser_memory)}
    parts |= {f"{held}/{client}": state for held in PER_CLIENT for client, state in getattr(run, held).items()}
    tensors = {
        f"{part}/{name}": value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for part, state in parts.items()
        for name, value in state.items()
    }
    text = json.dumps(head.model_dump())
    return save(tensors, {"head": text, "digest": _digest(text, tensors)})


def unpack(content: bytes, run_id: str) -> tuple[CheckpointHeader, State]:
    """What a checkpoint of the run holds. Raises `CheckpointError` for one that is damaged or another run's."""
    try:
        tensors = load(content)
        length = int.from_bytes(content[:8], "little")
        facts = json.loads(content[8 : 8 + length])["__metadata__"]
        text = facts["head"]
        if facts["digest"] != _digest(text, tensors):
            raise CheckpointError("was changed after it was written")
        head = json.loads(text)
        if head["format"] != FORMAT:
            raise CheckpointError(f"has format {head['format']}, and this version writes {FORMAT}")
        if head["run_id"] != run_id:
            raise CheckpointError(f"is of another run, {head['run_id']}")
        return CheckpointHeader.model_validate(head), tensors
    except CheckpointError:
        raise
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError("is truncated or no checkpoint") from error


def restore(run: Simulator, head: CheckpointHeader, tensors: State) -> None:
    """Puts a fresh simulation where a checkpoint left it. Raises `CheckpointError`, the simulation as it was."""
    if head.code != code_of(run):
        raise CheckpointError("was written by other code, so the rounds to come would not be those it began")
    left = {name: value.to(run.vit.device) for name, value in tensors.items()}

    def taken(part: str, names: State, exact: bool = True) -> State:
        found = {name: left.pop(f"{part}/{name}") for name in names if f"{part}/{name}" in left}
        for name, value in found.items():
            if not _alike(value, names[name], exact and name not in run.method.personal_copies):
                raise CheckpointError(f"has a tensor of another shape or type: {part}/{name}")
        if exact and found.keys() != names.keys():
            raise CheckpointError(f"lacks {part}/{sorted(names.keys() - found.keys())[0]}")
        return found

    server = taken("server", run.initial_server, exact=False)  # what has not changed is not in it; pools may grow
    server |= taken("server", _of_clients(run, left), exact=False)
    memory = [taken(f"optimiser/{i}", own) for i, own in enumerate(run.optimiser_memory)]
    clients = {
        held: {client: taken(f"{held}/{client}", pattern(run)) for client in head.clients.get(held, [])}
        for held, pattern in PER_CLIENT.items()
    }
    try:
        outcome = TypeAdapter(Outcome).validate_python(head.outcome)
        rounds = [row["round"] for row in outcome.rounds]
    except (ValidationError, KeyError) as error:
        raise CheckpointError("holds no outcome of a run") from error
    everybody, last = len(run.federation.clients), run.protocol.rounds
    if rounds != list(range(head.round + 1)) or head.round > last or len(head.rounds_trained) != everybody:
        raise CheckpointError("does not fit the rounds or the clients of its run")
    if left:
        raise CheckpointError(f"has a tensor that its run knows nothing of: {sorted(left)[0]}")
    run.server = {**run.server, **server}
    run.optimiser_memory, run.reached, run.outcome = memory, head.round, outcome
    run.rounds_trained = np.array(head.rounds_trained, dtype=np.int64)
    run.layers_before = run.vit.layers_run - round(outcome.backbone_passes * run.vit.depth)
    for held, states in clients.items():
        setattr(run, held, states)
    _resume_executor(run, head)


def _of_clients(run: Simulator, left: State) -> State:
    """What shared tensors are like that the server keeps for a client as `CLIENT.NAME`, by the names that are there."""
    names = [key.removeprefix("server/") for key in left if key.startswith("server/")]
    parts = {name: name.partition(".") for name in names}
    clients = {str(client) for client in range(len(run.federation.clients))}
    return {
        name: run.initial_server[tensor]
        for name, (client, _, tensor) in parts.items()
        if client in clients and tensor in run.shared_names
    }


def _resume_executor(run: Simulator, head: CheckpointHeader) -> None:
    """The executor's choices go on where the machine is the same, but for the width that memory was too short for."""
    executor = run.executor
    if head.kernels == kernels(run.vit.device):
        executor.used = executor.used or head.used
        executor.width = None if executor.halvings else head.width
        executor.notes[:] = [*head.notes, *(note for note in executor.notes if note not in head.notes)]


def _alike(value: torch.Tensor, pattern: torch.Tensor, exact: bool) -> bool:
    skipped = 0 if exact else 1
    same = value.dtype == pattern.dtype and value.dim() == pattern.dim()
    return same and value.shape[skipped:] == pattern.shape[skipped:]


def _digest(text: str, tensors: State) -> str:
    found = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        value = tensors[name]
        found.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        found.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def code_of(run: Simulator) -> str:
    """A hash of the sources that a run's numbers come from: its method's and plug-ins', and this package's."""
    own = {getfile(type(part)) for part in (run.method, *run.recipe.optimisers)}
    return _hashed(tuple(sorted(own)))


@lru_cache(maxsize=64)
def _hashed(own: tuple[str, ...]) -> str:
    root = Path(__file__).parents[2]
    files = [path for folder in SOURCES for path in (root / folder).rglob("*.py")] + [Path(file) for file in own]
    texts = sorted((path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in files)
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()
