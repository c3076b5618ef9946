"""The contract that every method keeps, checked on a toy federation; what is broken is said in plain words.

Each check is a function of a `Case`: its docstring is what should hold. It raises `ContractError` where that does not
hold, and returns the reason where it does not apply.
"""

import dataclasses
import inspect
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from fedprompt.benchmark.contract import toy
from fedprompt.benchmark.contract.case import ROUNDS, Case, ContractError, demand, unlike
from fedprompt.benchmark.simulation.batch import Batch
from fedprompt.benchmark.simulation.datastore import has_datastore
from fedprompt.methods.base import Method, Phase, State
from fedprompt.methods.optimiser import Optimiser
from fedprompt.methods.registry import Recipe


@dataclass(frozen=True)
class Finding:
    """What one check found: its name, what should hold, whether it does, and what was found instead or why not."""

    check: str
    about: str
    state: Literal["ok", "broken", "n/a"]
    why: str = ""


Check = Callable[[Case], str | None]


def described(case: Case) -> str | None:
    """It says what it is: a docstring, its paper, year and family, and what each field means."""
    for part in (case.method, *case.recipe.optimisers):
        lacks = [word for word in ("paper", "year", "family") if not getattr(part, word)]
        doc = vars(type(part)).get("__doc__") or ""
        lacks += ["a docstring"] if not doc.strip() or doc.startswith(f"{type(part).__name__}(") else []  # dataclass's
        lacks += [f"the meaning of {f.name}" for f in dataclasses.fields(part) if not f.metadata.get("meaning")]  # type: ignore[arg-type]
        demand(lacks, f"{part.name} lacks {{}}")
    return None


def frozen_backbone(case: Case) -> str | None:
    """The frozen backbone is after the run what it was before."""
    assert case.outcome
    demand(unlike(case.backbone, dict(case.vit.model.state_dict())), "the run changed {}")
    demand([n for n, p in case.vit.model.named_parameters() if p.requires_grad], "{} takes a gradient")
    return None


def predicts(case: Case) -> str | None:
    """It predicts: every client is scored before the first round."""
    assert case.untrained.outcome.rounds
    return None


def depends(case: Case) -> str | None:
    """Every tensor that is declared trains, and the loss depends on it."""
    simulator, phases = case.untrained, case.method.phases()
    if not phases:
        return "nothing is trained"
    declared = [*simulator.state.server.shared, *simulator.state.initial_local]
    demand({*declared} - case.trained, "no phase trains {}")
    demand(case.trained - {*declared}, "a phase trains {}, which is neither shared nor local")
    batch, state = case.batch(simulator.make_tasks(toy.SEEN, 1))
    for phase in phases:
        names = declared if phase.trains is None else phase.trains
        used = _gradients(case, batch, state, phase, declared)
        demand([name for name in names if name not in used], "the loss does not use {}, though a phase trains it")
    return None


def runs(case: Case) -> str | None:
    """It runs: three rounds of three clients, each evaluated."""
    assert case.outcome
    return None


def gradients(case: Case) -> str | None:
    """Every tensor that is declared gets a gradient in each of its rows."""
    if not case.ran.context.trains:
        return "nothing is trained"
    declared = [*case.ran.state.server.shared, *case.ran.state.initial_local]
    counts = np.bincount(toy.dataset().train_y)
    rows = np.arange(len(toy.dataset().train_y))
    reached: dict[str, Tensor] = {}
    for job in case.ran.make_tasks(toy.SEEN, ROUNDS + 1):
        batch, state = case.batch([replace(job, rows=rows, counts=counts)])
        for phase in [*case.method.phases(), case.method.fine_tuning]:
            for name, value in _gradients(case, batch, state, phase, declared).items():
                found = value[0].reshape(value.shape[1] if value.dim() > 1 else 1, -1).ne(0).any(1)
                reached[name] = reached[name] | found if name in reached else found
    chosen = {name for name in case.method.selects if reached[name].any()}  # of which samples use some rows alone
    dead = {
        name: (~found).nonzero().flatten().tolist()
        for name, found in reached.items()
        if not found.all() and name not in chosen
    }
    demand([f"{name} (rows {rows})" for name, rows in dead.items()], "no gradient in {}")
    return None


def _gradients(case: Case, batch: Batch, state: State, phase: Phase | None, declared: list[str]) -> State:
    """What a phase's loss tells the tensors that it trains; nothing for no phase."""
    if phase is None:
        return {}
    names = declared if phase.trains is None else list(phase.trains)
    state = {name: value.detach().clone().requires_grad_(name in names) for name, value in state.items()}
    batch.phase = phase
    loss = batch.means(case.method.loss(case.vit, batch, state)).sum()
    if not loss.requires_grad:
        return {}
    found = torch.autograd.grad(loss, [state[name] for name in names], allow_unused=True)
    return {name: value for name, value in zip(names, found, strict=True) if value is not None}


def fused(case: Case) -> str | None:
    """Clients that train in one pass end as clients that train one by one, and predict so."""
    if case.recipe.not_fusible:
        return f"it says why it cannot be: {case.recipe.not_fusible}"
    jobs = [
        replace(job, state=replace(job.state, shared={n: v * (1 + k / 10) for n, v in job.state.shared.items()}))
        for k, job in enumerate(case.ran.make_tasks(toy.SEEN, ROUNDS + 1))
    ]
    batch, state = case.batch(jobs, width=10)
    with torch.no_grad():
        together = case.method.logits(case.vit, batch, state)
        alone = torch.cat([case.method.logits(case.vit, *case.batch([job], width=10)) for job in jobs])
    demand(unlike({"logits": together}, {"logits": alone}, close=True), "{} of many clients are not those of each")
    if not case.ran.context.trains:
        return None
    ends = [case.updates(case.ran, kind, ROUNDS + 1) for kind in ("fused", "sequential")]
    for one, other in zip(*ends, strict=True):
        for part in ("shared", "local", "statistics", "reports", "optimiser_local", "optimiser_upload"):
            differ = unlike(getattr(one, part), getattr(other, part), close=True)
            demand(differ, f"{part} {{}} of client {one.client} depend on whom it trains beside")
    return None


def starts_from_now(case: Case) -> str | None:
    """A sampled client starts from what the server holds now, which the rounds have changed."""
    if not case.ran.state.server.shared:
        return "nothing is shared"
    initial, shared = case.started[2], set(case.ran.state.server.shared)
    for job in case.ran.make_tasks(toy.SEEN, ROUNDS + 1):
        demand(shared - job.state.shared.keys(), "the download lacks {}")
        same = [name for name in shared & case.trained if not unlike({name: initial[name]}, job.state.shared)]
        demand(same, f"{{}} that client {job.client} receives is still the initial one after {ROUNDS} rounds")
        if type(case.method).download is Method.download:
            demand(unlike(job.state.shared, case.ran.state.server.tensors), "{} that a client receives is not the server's")
    return None


def local_stays(case: Case) -> str | None:
    """What is local stays with its client."""
    local = set(case.ran.state.initial_local)
    if not local:
        return "nothing is local"
    demand(local & set(case.ran.state.server.shared), "{} is declared both shared and local")
    demand(local & case.ran.state.server.tensors.keys(), "the server holds {}")
    for update in case.updates(case.ran, "sequential", ROUNDS + 1):
        sent = {**update.statistics, **update.reports}
        demand(local & sent.keys(), "{} is sent as a statistic or report")
        held = [*update.local.values(), *case.ran.state.local[update.client].values()]
        copies = [name for name, value in sent.items() if any(not unlike({name: value}, {name: own}) for own in held)]
        demand(copies, "the statistic or report {} is a local tensor under another name")
    return None


def weighted_mean(case: Case) -> str | None:
    """Where the server only averages, it takes the mean weighted by sample counts."""
    if not case.ran.state.server.shared or not case.ran.context.trains:
        return "nothing is averaged"
    plain = all(type(o).server_step is Optimiser.server_step for o in case.recipe.optimisers)
    if type(case.method).combine is not Method.combine or not plain:
        return "its server does more than average"
    once, before = case.new(rounds=1), case.untrained
    once.run()
    updates = case.updates(before, "sequential", 1)
    mean: State = {}
    for name in before.state.server.shared:
        total = torch.zeros_like(before.state.server[name], dtype=torch.float64)
        for update in updates:
            whole = before.state.server[name].clone()
            rows = torch.from_numpy(update.classes) if name in case.method.class_rows else slice(None)
            whole[rows] = update.shared[name]
            total += whole.double() * update.samples
        mean[name] = (total / sum(update.samples for update in updates)).to(before.state.server[name])
    demand(
        unlike(mean, once.state.server.shared, close=True), "{} is not the mean of what the clients sent; see combine"
    )
    return None


def blind_to_labels(case: Case) -> str | None:
    """A prediction does not read the labels."""
    if "oracle" in case.recipe.name:
        return "an oracle reads them"
    batch, state = case.batch(case.ran.make_tasks(toy.SEEN, ROUNDS + 1))
    with torch.no_grad():
        plain = case.method.logits(case.vit, batch, state)
        batch.labels = (batch.labels + 1) % toy.CLASSES
        if not torch.equal(case.method.logits(case.vit, batch, state), plain):
            raise ContractError("other labels give other logits")
    return None


def repeatable(case: Case) -> str | None:
    """The same seed gives the same numbers."""
    again = case.new()
    outcome = again.run()
    differ = unlike(case.ran.state.server.tensors, again.state.server.tensors)
    demand(differ, "a second run ends with another {}; draw from the generators given")
    scores = [[row["seen_mean"] for row in o.rounds] for o in (case.outcome, outcome)]
    if scores[0] != scores[1]:
        raise ContractError(f"a second run scores {scores[1]}, not {scores[0]}; draw from the generators given")
    return None


def received_untouched(case: Case) -> str | None:
    """What a client or the server was handed is never changed in place."""
    assert case.outcome
    demand(unlike(case.started[1], case.started[2]), "{} was changed in place; return new tensors")
    return None


def held_out(case: Case) -> str | None:
    """A held-out client predicts, unless the method says that it cannot."""
    if not case.method.held_out:
        return "it says that it cannot"
    if case.outcome.metrics["held_out"] is None:
        raise ContractError("it has no result")
    batch, state = case.batch(case.ran.make_tasks([3], ROUNDS + 1))
    with torch.no_grad():
        logits = case.method.logits(case.vit, batch, state)
    if logits.shape != (len(batch.labels), toy.CLASSES) or logits.isnan().any():
        raise ContractError(
            f"logits are {list(logits.shape)} or hold nan, and should be [{len(batch.labels)}, {toy.CLASSES}]"
        )
    return None


def learns(case: Case) -> str | None:
    """It learns: seen clients are right more often than before the first round, and than by chance."""
    first, last = (case.outcome.rounds[i]["seen_mean"] for i in (0, -1))
    untaught = not case.ran.context.trains or has_datastore(
        case.method
    )  # then the first model predicts already
    floor = 1 / toy.CLASSES if untaught else max(first, 1 / toy.CLASSES)
    if not last > floor:
        raise ContractError(f"{last:.0%} right after {ROUNDS} rounds on four colours, {first:.0%} before")
    return None


FIRST: tuple[Check, ...] = (predicts, depends, runs)
"""Where one of these is broken, no other can be looked at."""
CHECKS: tuple[Check, ...] = (
    described,
    frozen_backbone,
    gradients,
    fused,
    starts_from_now,
    local_stays,
    blind_to_labels,
    repeatable,
    weighted_mean,
    received_untouched,
    held_out,
    learns,
)


def check(recipe: Recipe) -> list[Finding]:
    """What each check finds; the last one is broken where that kept the others from being made."""
    case, findings = Case(recipe), list[Finding]()
    for one in FIRST:
        findings.append(_found(case, one))
        if findings[-1].state == "broken":
            return findings
    return findings + [_found(case, one) for one in CHECKS]


def _found(case: Case, one: Check) -> Finding:
    name, about = one.__name__, inspect.cleandoc(one.__doc__ or "").rstrip(".")
    try:
        reason = one(case)
    except ContractError as broken:
        return Finding(name, about, "broken", str(broken))
    except Exception as error:  # a stranger's method may raise anything
        return Finding(name, about, "broken", _said(error, inspect.getfile(type(case.method))))
    return Finding(name, about, "ok" if reason is None else "n/a", reason or "")


def _said(error: Exception, file: str) -> str:
    """An error in a line, with the last line of the method's own file on its way."""
    frames = traceback.extract_tb(error.__traceback__)
    place = next((frame for frame in reversed(frames) if frame.filename == file), frames[-1])
    first = str(error).strip().split("\n")[0]
    return f"{type(error).__name__}: {first} ({Path(place.filename).name} line {place.lineno})"
