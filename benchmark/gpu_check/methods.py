"""Checks every method: a round of the cohort fused into one pass against client after client."""

import torch

from fedprompt.benchmark.backbone.vit import FrozenViT
from fedprompt.benchmark.contract import toy
from fedprompt.benchmark.contract.case import TOLERANCE, unlike
from fedprompt.benchmark.gpu_check.job import Job
from fedprompt.benchmark.simulation.executor import Kind
from fedprompt.benchmark.simulation.simulator import Simulator
from fedprompt.methods import registry
from fedprompt.methods.base import State

FEW = ("head", "fedvpt", "pep-fedpt", "fedper", "fed3r", "fedvpt+scaffold")
SECONDS = 5.0  # assumed time of one more method


def methods(job: Job) -> None:
    """Runs one round of every method, and of FedVPT with every optimiser, fused and sequentially, in fp32."""
    vit, names = toy.vit(), list(FEW if job.small else _all())
    vit.model.to(job.torch_device)
    failed, unlike_names, unfused, gaps = dict[str, str](), dict[str, list[str]](), dict[str, str](), dict[str, float]()
    for name in names:
        if not job.time_for(SECONDS):
            break
        try:
            recipe = registry.create(name)
            one, many = (_round(registry.create(name), vit, kind) for kind in ("sequential", "fused"))
        except Exception as error:  # a method may raise anything
            failed[name] = f"{type(error).__name__}: {error}"
            continue
        gaps[name] = _gap(one, many)
        if recipe.not_fusible:
            unfused[name] = recipe.not_fusible
        if different := [*unlike(_tensors(one), _tensors(many), close=True)]:
            unlike_names[name] = different
        job.keep(largest_differences=gaps, failed=failed, different=unlike_names, not_fusible=unfused)
    job.keep(methods=len(names), failed=failed)
    ran, whole = len(gaps), len(gaps) + len(failed) == len(names)
    words = f"{ran} of {len(names)} ran" + _listed(failed)
    job.answer("every method runs fused", words, "no failed run", whole and not failed)
    words = f"largest difference {max(gaps.values(), default=0.0):.1e}" + _listed(unlike_names)
    job.answer("fused equals sequential", words, f"within {TOLERANCE}", whole and not unlike_names and not failed)


def _all() -> list[str]:
    names = registry.expand(("all",))
    return [*names, *(f"fedvpt+{optimiser}" for optimiser in sorted(registry.OPTIMISERS)), "pep-fedpt+fedadam"]


def _round(recipe: registry.Recipe, vit: FrozenViT, kind: Kind) -> Simulator:
    simulator = toy.simulator(recipe, vit, 1, kind)
    simulator.run()
    return simulator


def _tensors(run: Simulator) -> State:
    """Returns the server's and all clients' tensors after a run."""
    state = run.state
    local = {f"{client}/{name}": value for client, own in state.local.items() for name, value in own.items()}
    return {**state.server.tensors, **local}


def _gap(one: Simulator, other: Simulator) -> float:
    """Returns the largest difference of any value between two runs."""
    first, second = _tensors(one), _tensors(other)
    pairs = [(first[name].double(), second[name].double()) for name in first if first[name].numel()]
    gaps = [torch.where(a == b, 0.0, (a - b).abs()).nan_to_num(torch.inf).max() for a, b in pairs]
    return torch.stack(gaps).max().item() if gaps else 0.0


def _listed(names: object) -> str:
    return f"; {', '.join(map(str, names))}" if names else ""  # type: ignore[call-overload]
