"""`bench check`: runs a method on a toy federation and checks every rule of the method contract.

A check is a function of a `Case`. Its docstring states the rule. It raises `ContractError` where the method breaks the
rule, and returns a reason where the rule does not apply.
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
from fedprompt.benchmark.simulation.evaluation.datastore import has_datastore
from fedprompt.methods import uploads
from fedprompt.methods.base import Method, Phase, State
from fedprompt.methods.optimiser import Optimiser
from fedprompt.methods.registry import Recipe
from fedprompt.results.text import one_line


@dataclass(frozen=True)
class Finding:
    """Result of one check: its name, the rule, the outcome, and the fault or why the rule does not apply."""

    check: str
    about: str
    state: Literal["ok", "broken", "n/a"]
    why: str = ""


Check = Callable[[Case], str | None]


def described(case: Case) -> str | None:
    """The method has a docstring, a paper, a year and a family, and each field has a meaning."""
    for part in (case.method, *case.recipe.optimisers):
        missing = [word for word in ("paper", "year", "family") if not getattr(part, word)]
        doc = vars(type(part)).get("__doc__") or ""
        if not doc.strip() or doc.startswith(f"{type(part).__name__}("):  # the one that dataclass generates
            missing.append("a docstring")
        missing += [f"the meaning of {f.name}" for f in dataclasses.fields(part) if not f.metadata.get("meaning")]  # type: ignore[arg-type]
        demand(missing, f"{part.name} lacks {{}}; see @register and hyperparameter()")
    return None


def frozen_backbone(case: Case) -> str | None:
    """A run does not change the frozen backbone."""
    assert case.outcome
    changed = unlike(case.backbone, dict(case.vit.model.state_dict()))
    demand(changed, "the run changed {}; train tensors from shared() or local() instead")
    demand([n for n, p in case.vit.model.named_parameters() if p.requires_grad], "{} requires a gradient")
    return None


def predicts(case: Case) -> str | None:
    """Every client can be evaluated before the first round."""
    assert case.untrained.outcome.rounds
    return None


def tensors_used(case: Case) -> str | None:
    """Every declared tensor is trained, and the loss depends on it."""
    simulator, phases = case.untrained, case.method.phases()
    if not phases:
        return "nothing is trained"
    declared = [*simulator.state.server.shared, *simulator.state.initial_local]
    demand({*declared} - case.trained, "no phase trains {}; add it to phases()")
    demand(case.trained - {*declared}, "a phase trains {}, which neither shared() nor local() returns")
    batch, state = case.batch(simulator.make_tasks(toy.SEEN, 1))
    for phase in phases:
        names = declared if phase.trains is None else phase.trains
        used = _gradients(case, batch, state, phase, declared)
        demand([name for name in names if name not in used], "the loss does not use {}; use it in logits() or loss()")
    return None


def runs(case: Case) -> str | None:
    """Three rounds of three clients run and are evaluated."""
    assert case.outcome
    return None


def gradients(case: Case) -> str | None:
    """Every row of every declared tensor receives a gradient."""
    if not case.ran.context.trains:
        return "nothing is trained"
    declared = [*case.ran.state.server.shared, *case.ran.state.initial_local]
    labels = toy.dataset().train_y
    nonzero: dict[str, Tensor] = {}  # per row
    for job in case.ran.make_tasks(toy.SEEN, ROUNDS + 1):
        batch, state = case.batch([replace(job, rows=np.arange(len(labels)), counts=np.bincount(labels))])
        for phase in [*case.method.phases(), case.method.fine_tuning]:
            for name, value in _gradients(case, batch, state, phase, declared).items():
                rows = value[0].reshape(value.shape[1] if value.dim() > 1 else 1, -1).ne(0).any(1)
                nonzero[name] = nonzero[name] | rows if name in nonzero else rows
    selected = {name for name in case.method.selects if nonzero[name].any()}  # samples use only some of the rows
    zero = [
        f"{name} (rows {(~rows).nonzero().flatten().tolist()})"
        for name, rows in nonzero.items()
        if not rows.all() and name not in selected
    ]
    demand(zero, "no gradient reaches {}; is it detached or unused?")
    return None


def _gradients(case: Case, batch: Batch, state: State, phase: Phase | None, declared: list[str]) -> State:
    """Gradients of a phase's loss for the tensors that it trains and uses; empty for no phase."""
    if phase is None:
        return {}
    names = declared if phase.trains is None else list(phase.trains)
    state = {name: value.detach().clone().requires_grad_(name in names) for name, value in state.items()}
    batch.phase = phase
    loss = batch.means(case.method.loss(case.vit, batch, state)).sum()
    if not loss.requires_grad:
        return {}
    values = torch.autograd.grad(loss, [state[name] for name in names], allow_unused=True)
    return {name: value for name, value in zip(names, values, strict=True) if value is not None}


def fused(case: Case) -> str | None:
    """Clients computed in one pass get the same results as each client alone."""
    if case.recipe.not_fusible:
        return f"the method declares why it cannot be fused: {case.recipe.not_fusible}"
    jobs = [
        replace(job, state=replace(job.state, shared={n: v * (1 + k / 10) for n, v in job.state.shared.items()}))
        for k, job in enumerate(case.ran.make_tasks(toy.SEEN, ROUNDS + 1))
    ]
    batch, state = case.batch(jobs, width=10)
    with torch.no_grad():
        together = case.method.logits(case.vit, batch, state)
        alone = torch.cat([case.method.logits(case.vit, *case.batch([job], width=10)) for job in jobs])
    different = unlike({"logits": together}, {"logits": alone}, close=True)
    demand(different, "{} of several clients in one batch differ from those of each client alone; use batch.own()")
    if not case.ran.context.trains:
        return None
    updates = [case.updates(case.ran, kind, ROUNDS + 1) for kind in ("fused", "sequential")]
    for one, other in zip(*updates, strict=True):
        for part in ("shared", "local", "statistics", "reports", "optimiser_local", "optimiser_upload"):
            different = unlike(getattr(one, part), getattr(other, part), close=True)
            demand(different, f"{part} {{}} of client {one.client} depend on the other clients in the batch")
    return None


def download_is_current(case: Case) -> str | None:
    """A sampled client starts from the server's current tensors."""
    if not case.ran.state.server.shared:
        return "nothing is shared"
    initial, shared = case.started[2], set(case.ran.state.server.shared)
    for job in case.ran.make_tasks(toy.SEEN, ROUNDS + 1):
        demand(shared - job.state.shared.keys(), "download() omits {}")
        same = [name for name in shared & case.trained if not unlike({name: initial[name]}, job.state.shared)]
        demand(same, f"client {job.client} still receives the initial {{}} after {ROUNDS} rounds; see download()")
        if type(case.method).download is Method.download:
            demand(
                unlike(job.state.shared, case.ran.state.server.tensors),
                "a client receives another {} than the server's",
            )
    return None


def local_stays(case: Case) -> str | None:
    """Local tensors never leave their client."""
    local = set(case.ran.state.initial_local)
    if not local:
        return "nothing is local"
    demand(local & set(case.ran.state.server.shared), "both shared() and local() return {}")
    demand(local & case.ran.state.server.tensors.keys(), "the server stores {}")
    for update in case.updates(case.ran, "sequential", ROUNDS + 1):
        sent = {**update.statistics, **update.reports}
        demand(local & sent.keys(), "a client sends {} as a statistic or report")
        stored = [*update.local.values(), *case.ran.state.local[update.client].values()]
        copies = [name for name, value in sent.items() if any(not unlike({name: value}, {name: x}) for x in stored)]
        demand(copies, "the statistic or report {} is a copy of a local tensor; send less than that")
    return None


def weighted_mean(case: Case) -> str | None:
    """A server that only averages weights the clients by their sample counts."""
    if not case.ran.state.server.shared or not case.ran.context.trains:
        return "nothing is averaged"
    plain = all(type(o).server_step is Optimiser.server_step for o in case.recipe.optimisers)
    if type(case.method).combine is not Method.combine or not plain:
        return "the method's server does more than average"
    after, before = case.new(rounds=1), case.untrained
    after.run()
    updates = case.updates(before, "sequential", 1)
    mean: State = {}
    for name in before.state.server.shared:
        total = torch.zeros_like(before.state.server[name], dtype=torch.float64)
        for update in updates:
            value = before.state.server[name].clone()
            rows = torch.from_numpy(update.classes) if name in case.method.class_rows else slice(None)
            value[rows] = update.shared[name]
            total += value.double() * update.samples
        mean[name] = (total / sum(update.samples for update in updates)).to(before.state.server[name])
    demand(
        unlike(mean, after.state.server.shared, close=True), "{} is not the mean of the uploads; see apply_statistics()"
    )
    return None


def ignores_labels(case: Case) -> str | None:
    """A prediction does not depend on the labels."""
    if "oracle" in case.recipe.name:
        return "an oracle may read labels"
    batch, state = case.batch(case.ran.make_tasks(toy.SEEN, ROUNDS + 1))
    with torch.no_grad():
        expected = case.method.logits(case.vit, batch, state)
        batch.labels = (batch.labels + 1) % toy.CLASSES
        if not torch.equal(case.method.logits(case.vit, batch, state), expected):
            raise ContractError("other labels give other logits; logits() must not read batch.labels")
    return None


def repeatable(case: Case) -> str | None:
    """The same seed gives the same numbers."""
    again = case.new()
    outcome, remedy = again.run(), "draw random numbers only from the generators passed in"
    demand(
        unlike(case.ran.state.server.tensors, again.state.server.tensors),
        f"a second run ends with another {{}}; {remedy}",
    )
    first, second = ([row["seen_mean"] for row in o.rounds] for o in (case.outcome, outcome))
    if not np.array_equal(first, second, equal_nan=True):
        raise ContractError(f"a second run scores {second} instead of {first}; {remedy}")
    return None


def inputs_unchanged(case: Case) -> str | None:
    """Tensors passed to a client or the server are never changed in place."""
    assert case.outcome
    demand(unlike(case.started[1], case.started[2]), "{} was changed in place; return new tensors")
    return None


def uploads_have_a_kind(case: Case) -> str | None:
    """Every uploaded tensor has a kind, which says what it tells about a client's data."""
    declared = case.method.upload_kinds
    demand(set(declared.values()) - {*uploads.KINDS}, f"upload_kinds has {{}}; kinds are {', '.join(uploads.KINDS)}")
    sent, shared = case.outcome.travelling["upload"], case.outcome.trainable["shared"]
    found = uploads.kinds(sent, shared, case.recipe.class_rows, declared)
    demand(found.get(uploads.UNDECLARED, []), "{} is uploaded; say what it is in upload_kinds")
    return None


def held_out(case: Case) -> str | None:
    """A held-out client gets predictions, unless the method declares that it cannot give any."""
    if not case.method.held_out:
        return "the method declares no predictions for held-out clients"
    if case.outcome.metrics["held_out"] is None:
        raise ContractError("the held-out client has no result")
    batch, state = case.batch(case.ran.make_tasks([3], ROUNDS + 1))
    with torch.no_grad():
        logits = case.method.logits(case.vit, batch, state)
    expected = [len(batch.labels), toy.CLASSES]
    if list(logits.shape) != expected or logits.isnan().any():
        raise ContractError(f"logits have shape {list(logits.shape)} or contain nan; need {expected} and finite values")
    return None


def learns(case: Case) -> str | None:
    """Accuracy on seen clients ends above chance and above that before the first round."""
    first, last = (case.outcome.rounds[i]["seen_mean"] for i in (0, -1))
    starts_trained = not case.ran.context.trains or has_datastore(
        case.method
    )  # the first model already uses training samples
    before = first if np.isfinite(first) else 0.0  # without training, some methods have no score
    floor = 1 / toy.CLASSES if starts_trained else max(before, 1 / toy.CLASSES)
    if not last > floor:
        raise ContractError(f"{last:.0%} correct after {ROUNDS} rounds on four colours, {first:.0%} before; see loss()")
    return None


FIRST: tuple[Check, ...] = (predicts, tensors_used, runs)
"""Where one of these is broken, no other check can run."""
CHECKS: tuple[Check, ...] = (
    described,
    frozen_backbone,
    gradients,
    fused,
    download_is_current,
    local_stays,
    ignores_labels,
    repeatable,
    weighted_mean,
    inputs_unchanged,
    uploads_have_a_kind,
    held_out,
    learns,
)


def check(recipe: Recipe) -> list[Finding]:
    """Returns the findings of all checks; ends with the broken one if that prevents the others."""
    case, findings = Case(recipe), list[Finding]()
    for function in FIRST:
        findings.append(_finding(case, function))
        if findings[-1].state == "broken":
            return findings
    return findings + [_finding(case, function) for function in CHECKS]


def _finding(case: Case, function: Check) -> Finding:
    name, rule = function.__name__, inspect.cleandoc(function.__doc__ or "").rstrip(".")
    try:
        reason = function(case)
    except ContractError as broken:
        return Finding(name, rule, "broken", str(broken))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # the method under test may raise anything, or call sys.exit
        return Finding(name, rule, "broken", _summary(error, inspect.getfile(type(case.method))))
    return Finding(name, rule, "ok" if reason is None else "n/a", reason or "")


def _summary(error: BaseException, file: str) -> str:
    """Returns an error in one line, with the last line of the method's file in the traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    frame = next((frame for frame in reversed(frames) if frame.filename == file), frames[-1])
    return f"{one_line(error)} ({Path(frame.filename).name} line {frame.lineno})"
