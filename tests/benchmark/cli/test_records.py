import json
import os
import shlex
import shutil
from pathlib import Path

import pytest

from fedprompt.benchmark.config.lists import parse_list
from fedprompt.benchmark.runs import prune
from fedprompt.benchmark.runs.checkpoint_files import CheckpointFiles
from fedprompt.benchmark.runs.driver_status import FOLDER
from fedprompt.benchmark.runs.locks import Locks
from fedprompt.benchmark.runs.store import Store
from fedprompt.results.records.files import own_settings
from fedprompt.results.report.command import command
from tests.benchmark.conftest import SMALL, config, refused


@pytest.fixture
def runs(directory, tmp_path):
    """A writable copy of the directory of runs: three done, one failed."""
    return Path(shutil.copytree(directory, tmp_path / "runs"))


def ids(place):
    return {path.name for path in place.iterdir() if not path.name.startswith(".")}


def edit(place, run_id, **change):
    path = place / run_id / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))


def test_export_writes_one_file(bench, runs, tmp_path):
    bench.ok("export", runs, "all.parquet")
    answer = bench("export", runs, "clients.csv", "--what", "clients")
    assert answer.err == f"60 clients of {runs} in clients.csv\n"
    assert (tmp_path / "all.parquet").stat().st_size > 0
    refused(bench("export", runs, "all.txt"), "all.txt")


def test_export_writes_a_folder_whose_columns_are_all_described(bench, runs, tmp_path):
    answer = bench("export", runs, "all")
    assert (answer.code, answer.err) == (0, f"4 runs, 6 rounds, 60 clients of {runs} in all\n")
    assert "not described" not in (tmp_path / "all" / "columns.md").read_text()
    refused(bench("export", runs, "all", "--what", "clients"), "--what clients needs a file, and all is a folder")


def test_merge_copies_identical_runs_once_and_replaces_failed_runs(bench, runs, tmp_path):
    other = Path(shutil.copytree(runs, tmp_path / "other"))
    (failed,) = (entry.run_id for entry in Store(other).entries() if entry.status == "failed")
    edit(other, failed, status="done")
    answer = bench.ok("merge", runs, other, "--out", "all")
    assert answer.err == "4 runs copied into all, 3 already present\n"
    assert ids(tmp_path / "all") == ids(runs)
    assert {entry.status for entry in Store(tmp_path / "all").entries()} == {"done"}
    for file in ("rounds.parquet", "config.json"):
        one = config().run_id
        assert (tmp_path / "all" / one / file).read_bytes() == (runs / one / file).read_bytes()
    assert bench("merge", runs, other, "--out", "all").err == "0 runs copied into all, 8 already present\n"


def test_merge_copies_which_runs_were_tuned(bench, runs, tmp_path):
    other = Path(shutil.copytree(runs, tmp_path / "other"))
    first, second, *_ = sorted(ids(runs))
    Store(runs).add_method_overrides({first: {"trials": 3}})
    Store(other).add_method_overrides({first: {"trials": 9}, second: {"trials": 5}})
    bench.ok("merge", runs, other, "--out", "all")
    assert own_settings(tmp_path / "all") == {first: {"trials": 3}, second: {"trials": 5}}


def test_merge_refuses_conflicting_runs_and_copies_nothing(bench, runs, tmp_path):
    other, run_id = Path(shutil.copytree(runs, tmp_path / "other")), config().run_id
    edit(other, run_id, metrics={"seen": {"mean": 1.0}})
    refused(bench("merge", runs, other, "--out", "all"), run_id, str(other), str(runs))
    assert not (tmp_path / "all").exists()


def test_merge_accepts_a_record_of_an_earlier_version_that_scored_fewer_groups(bench, runs, tmp_path):
    other, run_id = Path(shutil.copytree(runs, tmp_path / "other")), config().run_id
    (result,) = (entry.result for entry in Store(other).entries() if entry.run_id == run_id)
    assert "held_out_em" in result["metrics"]
    edit(other, run_id, metrics={k: v for k, v in result["metrics"].items() if k != "held_out_em"})
    assert "already present" in bench.ok("merge", runs, other, "--out", "all").err


def test_merge_refuses_links(bench, runs, tmp_path):
    (tmp_path / "secret").write_text("not of this directory")
    log = runs / config().run_id / "log.txt"
    log.unlink()
    log.symlink_to(tmp_path / "secret")
    refused(bench("merge", runs, "--out", "all"), str(log), "link")


def test_prune_lists_before_it_deletes(bench, runs):
    (failed,) = (entry.run_id for entry in Store(runs).entries() if entry.status == "failed")
    (runs / ".unfinished-1-abc").mkdir()
    before = sorted(os.listdir(runs))
    answer = bench("prune", runs)
    assert answer.out.splitlines() == [
        f"{runs / '.unfinished-1-abc'}: left behind by an interrupted write",
        f"{runs / failed}: failed: ZeroDivisionError: division by zero",
    ]
    assert "2 removable" in answer.err
    assert "delete with --yes" in answer.err
    assert sorted(os.listdir(runs)) == before
    bench.ok("prune", runs, "--yes")
    assert set(before) - set(os.listdir(runs)) == {failed, ".unfinished-1-abc"}
    assert bench("prune", runs).out == ""


def test_prune_by_grid_and_by_commit_keeps_the_rest(bench, runs):
    kept = {config(seeds=(seed,)).run_id for seed in (0, 1)}
    assert (
        bench("prune", runs, "--outside", "--keep-failed", *SMALL, "--method", "head", "--seeds", "0,1", "--yes").code
        == 0
    )
    assert ids(runs) == kept
    edit(runs, config().run_id, environment={"git_commit": "0123456789ab"})
    answer = bench("prune", runs, "--other-commits")
    assert answer.out.startswith(f"{runs / config().run_id}: made by commit 0123456789ab")
    assert len(answer.out.splitlines()) == 1


def test_prune_deletes_interrupted_runs_only_with_unfinished(bench, runs):
    CheckpointFiles(Store(runs)).save("f" * 16, b"a checkpoint")
    assert "f" * 16 not in bench("prune", runs).out
    assert f"{runs / ('f' * 16)}: interrupted" in bench("prune", runs, "--unfinished").out


def test_prune_keeps_what_an_active_sweep_uses(bench, runs):
    (failed,) = (entry.run_id for entry in Store(runs).entries() if entry.status == "failed")
    CheckpointFiles(Store(runs)).save("f" * 16, b"a checkpoint")
    locks = Locks(runs / FOLDER)
    assert locks.acquire(failed)
    assert locks.acquire("f" * 16)
    Store(runs).temporary_folder(failed).mkdir()
    assert locks.acquire("e" * 16, host="far-host", pid=7)
    (runs / ".unfinished-far-host-7-old").mkdir()
    (runs / ".unfinished-far-host-8-old").mkdir()
    answer = bench("prune", runs, "--unfinished", "--yes")
    assert answer.out == f"{runs / '.unfinished-far-host-8-old'}: left behind by an interrupted write\n"
    locks.release(failed)
    assert bench("prune", runs).out.startswith(f"{runs / failed}: failed")


def test_prune_keeps_a_run_that_is_locked_or_written_after_listing(runs):
    (removable,) = prune.find(runs)
    locks = Locks(runs / FOLDER)
    assert locks.acquire(removable.path.name)
    assert not prune.delete(removable)
    assert locks.get(removable.path.name) is not None, "the lock of the sweep was released"
    locks.release(removable.path.name)
    edit(runs, removable.path.name, status="done")
    assert not prune.delete(removable)
    assert not (runs / FOLDER).exists() or not list((runs / FOLDER).iterdir())
    edit(runs, removable.path.name, status="failed")
    (again,) = prune.find(runs)
    assert prune.delete(again)
    assert not again.path.exists()


def test_reproduce_repeats_a_run_bit_for_bit(bench, runs):
    before = sorted(os.listdir(runs))
    answer = bench("reproduce", config().run_id, "--out", runs)
    assert answer.code == 0, answer.out
    assert answer.out.startswith(f"{runs / config().run_id}: identical numbers, bit for bit\n")
    assert "bench run --method head --dataset digits --partition dirichlet --alpha 0.5 --seed 0" in answer.err
    assert sorted(os.listdir(runs)) == before


def test_reproduce_lists_differences_of_numbers_and_environment(bench, runs):
    place = runs / config().run_id
    record = json.loads((place / "result.json").read_text())
    metrics = record["metrics"] | {"seen": record["metrics"]["seen"] | {"mean": 2.0}}
    edit(runs, place.name, metrics=metrics, environment=record["environment"] | {"torch": "0.1"})
    answer = bench("reproduce", place, "--json")
    assert answer.code == 1
    found = json.loads(answer.out)
    assert found["same"] is False
    mean = record["metrics"]["seen"]["mean"]
    assert found["numbers"] == [f"metrics.seen.mean: 2.0 -> {mean}"]
    assert any(line.startswith("torch: 0.1 -> ") for line in found["environment"])
    answer = bench("reproduce", place)
    assert (answer.code, "1 numbers differ" in answer.out) == (1, True)


def test_reproduce_refuses_unknown_and_failed_runs(bench, runs):
    refused(bench("reproduce", runs / "0123456789abcdef"), "has no run 0123456789abcdef")
    refused(bench("reproduce", "../../etc/passwd"), "passwd", "not a run id")
    (failed,) = (entry.run_id for entry in Store(runs).entries() if entry.status == "failed")
    refused(bench("reproduce", runs / failed), "failed")


def test_reproduce_loads_only_plugins_named_by_the_user(bench, plugin, tmp_path):
    own = plugin("own")
    bench.ok("run", "--method", "own", "--plugin", own, *SMALL, "--out", "own")
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
def test_command_of_a_run_defines_the_same_run(given):
    from fedprompt.benchmark.cli.grid_options import ALIASES
    from fedprompt.benchmark.config.lists import LISTS
    from fedprompt.benchmark.config.options import Options, options

    run = config(**given)
    words = shlex.split(command(run.model_dump(mode="json")))[2:]
    singular = {alias.removeprefix("--"): name for name, (alias,) in ALIASES.items()}
    chosen: dict[str, list[str]] = {}
    for i, word in enumerate(words):
        if word.startswith("--"):
            name = word.removeprefix("--")
            value = words[i + 1] if i + 1 < len(words) and not words[i + 1].startswith("--") else "true"
            chosen.setdefault(singular.get(name, name.replace("-", "_")), []).append(value)
    values = {k: parse_list(k, v) if k in LISTS else v[0] for k, v in chosen.items()}
    assert values.keys() <= Options.model_fields.keys()
    (again,) = options(values).grid()
    assert again.run_id == run.run_id
