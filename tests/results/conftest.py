"""Writes small record directories with json and pandas only."""

import json

import numpy as np
import pandas as pd
import pytest

MEASURES = {"worst": 0.1, "bottom_decile": 0.2, "std": 0.05, "pooled": 0.5, "clients": 4}
CLIENTS = pd.DataFrame(
    {
        "client": [0, 1, 2, 3],
        "held_out": [False, False, False, True],
        "domain": ["", "", "", ""],
        "train_samples": [4, 3, 5, 2],
        "test_samples": [2, 2, 0, 1],
        "rounds_trained": [1, 2, 0, 0],
        "accuracy": [0.75, 0.25, float("nan"), 1.0],
        "accuracy_prior": [0.75, 0.5, float("nan"), 1.0],
        "class_counts": [[4, 0, 0], [1, 2, 0], [0, 0, 5], [1, 0, 1]],
    }
)


def split(mean):
    """The metrics of one group of clients for a mean accuracy."""
    return {"mean": mean, **MEASURES}


@pytest.fixture
def write(tmp_path):
    """Writes runs below the test's temporary folder."""
    return writer(tmp_path)


def writer(tmp_path):
    """A function that writes one run into `runs` and returns its folder; keywords replace parts of the record.

    `seen` and `held_out` are mean accuracies; `config` is added to the shared options; `error` makes a failed run.
    """

    def run(method="fedvpt", alpha=0.05, seed=0, seen=0.5, held_out=0.4, config=None, error=None, **record):
        runs = tmp_path / "runs"
        run_id = f"r{len(list(runs.glob('*'))):03d}"
        folder = runs / run_id
        folder.mkdir(parents=True)
        metrics = {"seen": split(seen), "held_out": None if held_out is None else split(held_out)}
        whole = {
            "format": 1,
            "run_id": run_id,
            "method": method,
            "dataset": "digits",
            "partition": "iid" if alpha is None else "dirichlet",
            "alpha": alpha,
            "seed": seed,
            "config": {"rounds": 2, "lr": 0.01, "seed": seed, "settings": {}} | (config or {}),
            "status": "failed" if error else "done",
            "error": error,
            "metrics": None if error else metrics | {"held_out_unlabelled": None},
            "metrics_prior": None if error else {"seen": split(seen + 0.1), "held_out": None},
            "communication": None if error else {"upload_bytes": 2_500_000, "download_bytes": 4_000_000},
            "parameters": None if error else {"shared": 7680, "local": 0},
            "seconds": None if error else {"train": 3.0, "eval": 1.0, "total": 4.0},
            "images_per_second": None if error else 100.0,
            "never_trained": None if error else 0.25,
            "environment": {},
            "deviations": [],
        } | record
        (folder / "result.json").write_text(json.dumps(whole))
        if not error:
            rounds = {"round": [0, 1, 2], "train_loss": 1.0, "seen_mean": [0.1, float("nan"), seen], "seconds": 1.0}
            pd.DataFrame(rounds).to_parquet(folder / "rounds.parquet")
            CLIENTS.to_parquet(folder / "clients.parquet")
        return folder

    return run


@pytest.fixture
def generator():
    return np.random.default_rng(5)


@pytest.fixture
def runs(tmp_path):
    """The directory that `write` fills."""
    return tmp_path / "runs"
