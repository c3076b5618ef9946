"""What the columns of exported tables mean: one description per column, or per family of columns."""

import re
from collections.abc import Iterable, Mapping

import pandas as pd

SPLITS = {
    "seen": "seen clients",
    "trained": "seen clients that a round has sampled, the same for every method",
    "held_out": "held-out clients, which never train",
    "held_out_unlabelled": "held-out clients whose class counts are unknown to the method",
    "held_out_em": "held-out clients with class shares estimated from their unlabelled test images by EM",
    "held_out_bbse": "held-out clients with class shares estimated from their unlabelled test images by BBSE",
    "held_out_adapted": "held-out clients after the method's own adaptation",
    "personalised": "seen clients after local training on their own data",
    "held_out_personalised": "held-out clients after local training on their own data",
    "validation": "seen clients, on their validation samples",
}
MEASURES = {
    "mean": "mean accuracy over clients",
    "worst": "lowest accuracy of a client with at least --min-test test samples",
    "bottom_decile": "mean accuracy of the lowest tenth of the same clients",
    "std": "standard deviation (population) of the accuracy over clients",
    "pooled": "accuracy over the test samples of all clients",
    "clients": "number of clients scored",
    "too_few": "number of clients with too few test samples to count for the worst",
}
CLIENT_SCORES = {
    "seen": "after the last round, if it is seen",
    "trained": "after the last round, if it trained",
    "held_out": "after the last round, if it is held out",
    "unlabelled": "with its class counts unknown to the method",
    "adapted": "after the method's own adaptation",
    "personalised": "after local training on its own data",
    "validation": "on its validation samples",
}
LOGITS = {
    "": "",
    "prior": "with the log of the client's class prior added to calibrated logits",
    "prior_uncalibrated": "with the log of the client's class prior added to the logits as they are",
}
PARTS = {
    "seconds": "wall-clock seconds of the part `{}` of the run",
    "communication": "traffic of the whole run, `{}`",
    "parameters": "number of trainable parameters, `{}`",
    "executor": "execution of local training, `{}`",
    "federation": "the realised federation, `{}` (see `bench data show`)",
    "images": "images trained on, `{}`",
    "passes": "passes through the whole backbone that the method needed, in images, `{}`",
    "unestimated": "held-out clients scored with the class shares of the training data, as there is no estimate, `{}`",
    "preparation": "what seen clients sent once before round 1, for standardised features and the initial head: `{}`",
    "unscored": "clients without a score, because they never trained and the method has no rule for them, `{}`",
}
COLUMNS = {
    # names
    "run_id": "hash of all options that the result depends on; joins the three tables",
    "method": "method with its variant, values and plug-ins, and the options in which its runs of one setting differ",
    "family": "family of the method; empty if the record has none",
    "dataset": "data set",
    "partition": "rule by which the data are divided into clients",
    "alpha": "concentration of a Dirichlet partition; missing for others",
    "seed": "seed; runs of one setting and seed have the same clients and are paired",
    "setting": "data set and heterogeneity, with every option in which the runs of a data set differ",
    "cell": "the setting, in exports of version 0.1",
    "group": "the setting without the partition",
    "skew": "the partition with its concentration",
    "status": "done or failed",
    "error": "the error of a failed run",
    "backbone": "name of the backbone",
    "deviations": "known differences of the method from its paper, a list as JSON",
    # costs and counts of a run
    "upload_mb": "10^6 bytes from clients to the server, whole run",
    "download_mb": "10^6 bytes from the server to clients, whole run",
    "shared_parameters": "trainable parameters that travel",
    "local_parameters": "trainable parameters that stay at each client",
    "seconds": "wall-clock seconds: of the whole run, or up to and including this round",
    "images_per_second": "images trained on per second of training",
    "never_trained": "share of the seen clients that no round sampled",
    "convergence_since_round": "the evaluation nearest to the start of the last quarter of the rounds",
    "convergence_seen_change": "mean seen accuracy after the last round minus that after `convergence_since_round`",
    "convergence_between_evaluations": "mean absolute difference of mean seen accuracy between successive evaluations "
    "after training began",
    "convergence_loss_change": "mean training loss of the last quarter of the rounds minus that of the quarter before",
    "trials": "values tried before the method's own options were chosen; missing if they were not tuned",
    "backbone_passes": "passes through the whole backbone, in images",
    "attempts": "times that the run was started, retries included",
    "temperature": "temperature of the logits, fitted by likelihood on the training clients' own data",
    "uploads": "kinds of what a client uploads; `docs/uploads.md` says what each of them tells",
    "calibration_bytes": "bytes that travelled to fit the temperature",
    "gpu_peak_bytes": "largest memory in use on the GPU, in bytes",
    # rounds
    "round": "round; 0 is before training",
    "train_loss": "mean training loss of the round, over samples",
    "upload_bytes": "bytes from clients to the server up to and including this round",
    "download_bytes": "bytes from the server to clients up to and including this round",
    # clients
    "client": "index of the client within its federation",
    "domain": "domain of the client's images; empty without domains",
    "train_samples": "training samples of the client",
    "test_samples": "test samples of the client",
    "rounds_trained": "rounds in which the client trained",
    "accuracy": "test accuracy after the last round; missing if the client cannot be scored",
    "accuracy_prior": f"the same, {LOGITS['prior']}",
    "accuracy_prior_uncalibrated": f"the same, {LOGITS['prior_uncalibrated']}",
    "class_counts": "training samples per class, a list over all classes",
    "classes": "classes of the client's training samples",
}


def describe(column: str, table: str = "runs") -> str | None:
    """The meaning of a column of `runs`, `rounds` or `clients`; None if it is unknown."""
    if table == "clients" and column == "held_out":
        return "whether training never samples the client"
    if column in COLUMNS:
        return COLUMNS[column]
    if column.startswith("config."):
        name = column.removeprefix("config.")
        return (
            f"option `--{name.replace('_', '-')}` of the run, or what it was resolved to; JSON if it has several values"
        )
    if column.startswith("environment."):
        return f"software and hardware that computed the run, `{column.removeprefix('environment.')}`"
    return {"runs": _of_run, "rounds": _of_round, "clients": _of_client}[table](column)


def _of_run(column: str) -> str | None:
    """`prior.seen.mean`: a score; `federation_drift`: a number of a part of the record."""
    if "." in column:
        *logits, split, measure = column.rsplit(".", 2)
        return _score("".join(logits), split, measure)
    part, _, name = column.partition("_")
    return PARTS[part].format(name) if part in PARTS and name else None


def _of_round(column: str) -> str | None:
    """`seen_mean_prior`: a score; `train_NAME` and `test_NAME`: diagnostics."""
    pattern = f"({_any(SPLITS)})_({_any(MEASURES)})(?:_({_any(LOGITS)}))?"
    if match := re.fullmatch(pattern, column):
        return f"{_score(match[3] or '', match[1], match[2])}, after this round"
    return _diagnostic(column)


def _of_client(column: str) -> str | None:
    """`personalised`, `accuracy_personalised`, `held_out_personalised_prior`: the score of one client."""
    pattern = f"(?:accuracy_)?(?:held_out_)?({_any(CLIENT_SCORES)})(?:_({_any(LOGITS)}))?"
    if match := re.fullmatch(pattern, column):
        return _joined(f"test accuracy of the client {CLIENT_SCORES[match[1]]}", LOGITS[match[2] or ""])
    return _diagnostic(column)


def _score(logits: str, split: str, measure: str) -> str | None:
    if logits not in LOGITS or split not in SPLITS or measure not in MEASURES:
        return None
    return _joined(f"{MEASURES[measure]}; {SPLITS[split]}", LOGITS[logits])


def _joined(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def _diagnostic(column: str) -> str | None:
    where, _, name = column.partition("_")
    if where not in ("train", "test") or not name:
        return None
    return f"the method's diagnostic `{name}`, mean over {'training' if where == 'train' else 'test'} samples"


def _any(names: Iterable[str]) -> str:
    return "|".join(sorted(filter(None, names), key=len, reverse=True))


def markdown(tables: Mapping[str, pd.DataFrame]) -> str:
    """The text of columns.md: every column of the tables with its type and meaning."""
    lines = ["# Columns", "", "Accuracies are shares in [0, 1]. A missing value means that the number does not apply."]
    for table, frame in tables.items():
        lines += ["", f"## {table}.parquet", "", f"{len(frame)} rows"]
        lines += ["", "| column | type | meaning |", "| --- | --- | --- |"]
        for column, kind in frame.dtypes.items():
            name = str(column).replace("`", "'").replace("|", "\\|")  # it stays within its code and its cell
            lines.append(f"| `{name}` | {kind} | {describe(name, table) or 'not described'} |")
    lines += ["", "## records.jsonl.xz", "", "The whole records, one run per line, for `bench merge`."]
    return "\n".join(lines) + "\n"
