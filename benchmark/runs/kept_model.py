"""The trained model of a run: kept with `--keep-model`, and the start of another run with `--from`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from fedprompt.benchmark.backbone.vit import FrozenViT
from fedprompt.benchmark.config.run_config import RunConfig
from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.simulation.simulator import Simulator
from fedprompt.benchmark.simulation.start import StartState, is_complete, kept_tensors
from fedprompt.results.errors import RecordError
from fedprompt.results.records import models

Fits = Mapping[str, str | int]


class ModelHeader(BaseModel):
    """What a model file says besides its tensors.

    Attributes:
        fits: What a run must have in common with this one to start from it.
        rounds: Rounds of training, with those of the runs that it started from.
        federation: Hash of the clients' data.
        clients, rounds_trained, sampled: See `StartState`.
    """

    model_config = ConfigDict(strict=True, extra="forbid")
    format: Literal[1]
    digest: str
    run_id: str
    kept: Literal["server", "all"]
    fits: dict[str, str | int]
    rounds: NonNegativeInt
    federation: str
    clients: dict[str, list[NonNegativeInt]]
    rounds_trained: list[NonNegativeInt] | None
    sampled: list[NonNegativeInt]


def pack(run: Simulator, config: RunConfig, kept: str) -> tuple[bytes, dict[str, Any]]:
    """The file of a finished simulation, and what its record says of it."""
    state, with_clients = run.state, kept == "all"
    tensors = {
        name: value.detach().cpu().contiguous().numpy() for name, value in kept_tensors(state, with_clients).items()
    }
    header = {
        "run_id": config.run_id,
        "kept": kept,
        "fits": _fits(config, run.context.vit),
        "rounds": rounds_before(config) + config.rounds,
        "federation": run.context.federation.hash,
        "clients": {part: list(states) for part, states in state.per_client.items()} if with_clients else {},
        "rounds_trained": state.rounds_trained.tolist() if is_complete(state, with_clients) else None,
        "sampled": run.context.sampled(config.rounds).tolist(),
    }
    content, digest = models.packed(tensors, header)
    return content, {"kept": kept, "digest": digest, "bytes": len(content)}


def start(config: RunConfig, vit: FrozenViT) -> StartState | None:
    """The state that a run starts from; None if it starts from initial tensors.

    Raises:
        ConfigError: The model cannot be read, is not the one that the run was configured with, or does not fit.
    """
    if config.from_model is None:
        return None
    header, model = _read(config)
    if different := [name for name, value in _fits(config, vit).items() if header.fits.get(name) != value]:
        name = different[0]
        raise ConfigError(
            f"--from {config.from_run}: the {name} of its model is {_short(header.fits.get(name))}, that of this run "
            f"is {_short(_fits(config, vit)[name])}; they must be the same."
        )
    tensors = {name: torch.from_numpy(value.copy()) for name, value in model.tensors.items()}
    return StartState(tensors, header.clients, header.rounds_trained, header.sampled, header.federation)


def start_note(run: Simulator, config: RunConfig) -> dict[str, Any]:
    """What a record says of the run that this one has started from; empty without any."""
    if config.from_model is None:
        return {}
    rounds = rounds_before(config)
    return {"from": {"run_id": config.from_run, "rounds": rounds, "clients": run.clients_start}}


def rounds_before(config: RunConfig) -> int:
    """Rounds of training of the model that a run starts from; 0 without any."""
    return _read(config)[0].rounds if config.from_model is not None else 0


def _read(config: RunConfig) -> tuple[ModelHeader, models.Model]:
    try:
        model = models.read(Path(str(config.from_model)))
        header = ModelHeader.model_validate(dict(model.header))
    except RecordError as error:
        raise ConfigError(f"--from {config.from_run}: {error}.") from error
    except ValidationError as error:
        raise ConfigError(
            f"--from {config.from_run}: {config.from_model} does not describe a model; keep it again with --keep-model."
        ) from error
    if (header.run_id, header.digest) != (config.from_run, config.from_hash):
        raise ConfigError(
            f"--from {config.from_run}: {config.from_model} has been replaced since this run was configured; "
            "name the run again."
        )
    return header, model


def _fits(config: RunConfig, vit: FrozenViT) -> dict[str, str | int]:
    """What the tensors of a method depend on, by the name that a message gives it."""
    return {
        "method": config.method,
        "backbone": config.backbone,
        "weights file": config.backbone_identity,
        "number of classes": vit.classes,
        "image size": vit.image_size,
        "patch size": vit.patch_size,
        "--normalize": config.normalize,
        "--standardize": config.standardize,
    }


def _short(value: object) -> str:
    return str(value)[:60]
