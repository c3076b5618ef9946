import json
import os
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fedprompt.benchmark.cli.grid_options import _split
from fedprompt.benchmark.runs import prune
from fedprompt.benchmark.runs.checkpoint_files import CheckpointFiles
from fedprompt.benchmark.runs.driver_status import FOLDER
from fedprompt.benchmark.runs.locks import Locks
from fedprompt.benchmark.runs.reproduce import command_of
from fedprompt.benchmark.runs.store import Store
from fedprompt.results.records.files import own_settings
from tests.benchmark.conftest import SMALL, Bench, config, refused


@pytest.fixture
def runs(directory: Path, tmp_path: Path) -> Path:
    """A copy of the directory of runs that may be written in: three done, one failed."""
    return Path(shutil.copytree(directory, tmp_path / "runs"))


def ids(place: Path) -> set[str]:
    return {path.name for path in place.iterdir() if not path.name.startswith(".")}


def edit(place: Path, run_id: str, **change: object) -> None:
    path = place / run_id / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))


def test_a_directory_is_exported(bench: Bench, runs: Path, tmp_path: Path) -> None:
    assert bench("export", runs, "all.parquet").code == 0
    said = bench("export", runs, "clients.csv", "--what", "clients")
    assert said.err == f"60 clients of {runs} in clients.csv\n"
    assert (tmp_path / "all.parquet").stat().st_size > 0
    refused(bench("export", runs, "all.txt"), "all.txt")


def test_identical_runs_are_merged_once_and_a_finished_one_replaces_a_failed_one(
    bench: Bench, runs: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(runs, tmp_path / "other"))
    (failed,) = (entry.run_id for entry in Store(other).entries() if entry.status == "failed")
    edit(other, failed, status="done")
    said = bench("merge", runs, other, "--out", "all")
    assert said.code == 0, said.err
    assert said.err == "4 runs copied into all, 3 were there already\n"
    assert ids(tmp_path / "all") == ids(runs)
    assert {entry.status for entry in Store(tmp_path / "all").entries()} == {"done"}
    for file in ("rounds.parquet", "config.json"):
        one = config().run_id
        assert (tmp_path / "all" / one / file).read_bytes() == (runs / one / file).read_bytes()
    assert bench("merge", runs, other, "--out", "all").err == "0 runs copied into all, 8 were there already\n"


def test_which_runs_were_tuned_is_merged_too(bench: Bench, runs: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(runs, tmp_path / "other"))
    first, second, *_ = sorted(ids(runs))
    Store(runs).add_method_overrides({first: {"trials": 3}})
    Store(other).add_method_overrides({first: {"trials": 9}, second: {"trials": 5}})
    assert bench("merge", runs, other, "--out", "all").code == 0
    assert own_settings(tmp_path / "all") == {first: {"trials": 3}, second: {"trials": 5}}


def test_conflicting_runs_are_refused_by_name_and_nothing_is_copied(bench: Bench, runs: Path, tmp_path: Path) -> None:
    other, run_id = Path(shutil.copytree(runs, tmp_path / "other")), config().run_id
    edit(other, run_id, metrics={"seen": {"mean": 1.0}})
    refused(bench("merge", runs, other, "--out", "all"), run_id, str(other), str(runs))
    assert not (tmp_path / "all").exists()


def test_a_link_in_a_directory_of_runs_is_refused(bench: Bench, runs: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("not of this directory")
    log = runs / config().run_id / "log.txt"
    log.unlink()
    log.symlink_to(tmp_path / "secret")
    refused(bench("merge", runs, "--out", "all"), str(log), "link")


def test_pruning_shows_before_it_deletes(bench: Bench, runs: Path) -> None:
    (failed,) = (entry.run_id for entry in Store(runs).entries() if entry.status == "failed")
    (runs / ".unfinished-1-abc").mkdir()
    before = sorted(os.listdir(runs))
    said = bench("prune", runs)
    assert said.out.splitlines() == [
        f"{runs / '.unfinished-1-abc'}: left behind by an interrupted write",
        f"{runs / failed}: failed: ZeroDivisionError: division by zero",
    ]
    assert "2 may go" in said.err
    assert "--yes deletes them" in said.err
    assert sorted(os.listdir(runs)) == before
    assert bench("prune", runs, "--yes").code == 0
    assert set(before) - set(os.listdir(runs)) == {failed, ".unfinished-1-abc"}
    assert bench("prune", runs).out == ""


def test_pruning_by_grid_and_by_commit_leaves_the_rest(bench: Bench, runs: Path) -> None:
    kept = {config(seeds=(seed,)).run_id for seed in (0, 1)}
    assert (
        bench("prune", runs, "--outside", "--keep-failed", *SMALL, "--method", "head", "--seeds", "0,1", "--yes").code
        == 0
    )
    assert ids(runs) == kept
    edit(runs, config().run_id, environment={"git_commit": "0123456789ab"})
    said = bench("prune", runs, "--other-commits")
    assert said.out.startswith(f"{runs / config().run_id}: made by commit 0123456789ab")
    assert len(said.out.splitlines()) == 1


def test_a_run_that_was_cut_off_is_pruned_only_when_that_was_said(bench: Bench, runs: Path) -> None:
    CheckpointFiles(Store(runs)).save("f" * 16, b"a checkpoint")
    assert "f" * 16 not in bench("prune", runs).out
    assert f"{runs / ('f' * 16)}: interrupted" in bench("prune", runs, "--unfinished").out


def test_what_a_living_sweep_works_on_is_not_pruned(bench: Bench, runs: Path) -> None:
    (failed,) = (entry.run_id for entry in Store(runs).entries() if entry.status == "failed")
    CheckpointFiles(Store(runs)).save("f" * 16, b"a checkpoint")
    locks = Locks(runs / FOLDER)
    assert locks.acquire(failed)
    assert locks.acquire("f" * 16)
    Store(runs).temporary_folder(failed).mkdir()
    assert locks.acquire("e" * 16, host="far-host", pid=7)
    (runs / ".unfinished-far-host-7-old").mkdir()
    (runs / ".unfinished-far-host-8-old").mkdir()
    said = bench("prune", runs, "--unfinished", "--yes")
    assert said.out == f"{runs / '.unfinished-far-host-8-old'}: left behind by an interrupted write\n"
    locks.release(failed)
    assert bench("prune", runs).out.startswith(f"{runs / failed}: failed")


def test_a_run_that_is_taken_up_or_written_between_finding_and_deleting_stays(runs: Path) -> None:
    (waste,) = prune.find(runs)
    locks = Locks(runs / FOLDER)
    assert locks.acquire(waste.path.name)
    assert not prune.delete(waste)
    assert locks.of(waste.path.name) is not None, "the lock of the sweep was released"
    locks.release(waste.path.name)
    edit(runs, waste.path.name, status="done")
    assert not prune.delete(waste)
    assert not (runs / FOLDER).exists() or not list((runs / FOLDER).iterdir())
    edit(runs, waste.path.name, status="failed")
    (again,) = prune.find(runs)
    assert prune.delete(again)
    assert not again.path.exists()


def test_a_run_is_reproduced_bit_for_bit(bench: Bench, runs: Path) -> None:
    before = sorted(os.listdir(runs))
    said = bench("reproduce", config().run_id, "--out", runs)
    assert said.code == 0, said.out
    assert said.out.startswith(f"{runs / config().run_id}: the same numbers, bit for bit\n")
    assert "bench run --method head --dataset digits --seed 0" in said.err
    assert sorted(os.listdir(runs)) == before


def test_what_is_not_reproduced_is_listed_and_so_is_the_environment(bench: Bench, runs: Path) -> None:
    place = runs / config().run_id
    record = json.loads((place / "result.json").read_text())
    metrics = record["metrics"] | {"seen": record["metrics"]["seen"] | {"mean": 2.0}}
    edit(runs, place.name, metrics=metrics, environment=record["environment"] | {"torch": "0.1"})
    said = bench("reproduce", place, "--json")
    assert said.code == 1
    found = json.loads(said.out)
    assert found["same"] is False
    mean = record["metrics"]["seen"]["mean"]
    assert found["numbers"] == [f"metrics.seen.mean: 2.0 -> {mean}"]
    assert any(line.startswith("torch: 0.1 -> ") for line in found["environment"])
    said = bench("reproduce", place)
    assert (said.code, "1 numbers differ" in said.out) == (1, True)


def test_what_cannot_be_reproduced_is_refused(bench: Bench, runs: Path) -> None:
    refused(bench("reproduce", runs / "0123456789abcdef"), "holds no run")
    refused(bench("reproduce", "../../etc/passwd"), "passwd", "no run")
    (failed,) = (entry.run_id for entry in Store(runs).entries() if entry.status == "failed")
    refused(bench("reproduce", runs / failed), "failed")


def test_a_plug_in_runs_only_when_the_user_names_it(bench: Bench, plugin: Callable[..., Path], tmp_path: Path) -> None:
    own = plugin("own")
    assert bench("run", "--method", "own", "--plugin", own, *SMALL, "--out", "own").code == 0
    (place,) = (tmp_path / "own").iterdir()
    ran = tmp_path / "ran"
    own.write_text(f"open({str(ran)!r}, 'w').close()\n" + own.read_text())
    refused(bench("reproduce", place), "own_plugin.py", "--plugin FILE")
    assert not ran.exists()


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"methods": ("pep-fedpt+fedprox",), "set": ("fedprox.mu=0.5", "pep-fedpt.class_tokens=3"), "alpha": (0.05,)},
        {"partition": "iid", "clip_norm": 1.0, "lr": 0.1, "seeds": (3,)},
        {"partition": "pathological", "classes_per_client": 2, "skip_corrupt": True},
    ],
)
def test_the_command_of_a_run_makes_that_run(given: dict[str, object]) -> None:
    from fedprompt.benchmark.cli.grid_options import ALIASES, LISTS
    from fedprompt.benchmark.config.options import Options, options

    run = config(**given)
    words = shlex.split(command_of(run))[2:]
    singular = {alias.removeprefix("--"): name for name, (alias,) in ALIASES.items()}
    chosen: dict[str, list[str]] = {}
    for i, word in enumerate(words):
        if word.startswith("--"):
            name = word.removeprefix("--")
            value = words[i + 1] if i + 1 < len(words) and not words[i + 1].startswith("--") else "true"
            chosen.setdefault(singular.get(name, name.replace("-", "_")), []).append(value)
    values = {k: _split(k, v) if k in LISTS else v[0] for k, v in chosen.items()}
    assert values.keys() <= Options.model_fields.keys()
    (again,) = options(values).grid()
    assert again.run_id == run.run_id
