"""records.jsonl.xz: what it contains, and that damaged and hostile content is refused."""

import json
import lzma

import pandas as pd
import pytest

from fedprompt.results.errors import RecordError
from fedprompt.results.records import archive
from fedprompt.results.records.export import export_folder
from fedprompt.results.records.selection import Selection
from tests.results.records.packed import FILE, lines, put

TYPES = {"round": "int64", "train_loss": "double", "seen_mean": "double", "seconds": "double"}


@pytest.fixture
def folder(write, runs, tmp_path):
    write(seed=1, when={"began": 1.0, "worker": "host:1", "resumed": [{"after_round": 1, "worker": "host:2"}]})
    write(seed=0)
    write(method="head", error="it broke")
    (runs / "own_settings.json").write_text(json.dumps({"r001": {"options": ["lr"], "trials": 4}}))
    export_folder(runs, tmp_path / "exported")
    return tmp_path / "exported"


def test_there_is_one_line_per_run_in_the_order_of_the_table(folder, runs):
    found = lines(folder)
    assert [line["result"]["run_id"] for line in found] == pd.read_parquet(folder / "runs.parquet")["run_id"].tolist()
    by_id = {line["result"]["run_id"]: line for line in found}
    for run_id in ("r001", "r002"):
        assert by_id[run_id]["result"] == json.loads((runs / run_id / "result.json").read_text())
    assert by_id["r001"]["columns"]["rounds"] == TYPES
    assert by_id["r001"]["columns"]["clients"]["class_counts"] == "list of int64"
    assert by_id["r002"]["columns"] == {}


def test_names_of_hosts_are_left_out_and_tuned_options_are_not(folder):
    by_id = {line["result"]["run_id"]: line for line in lines(folder)}
    assert by_id["r000"]["result"]["when"] == {"began": 1.0, "resumed": [{"after_round": 1}]}
    assert b"host:" not in lzma.decompress((folder / FILE).read_bytes())
    assert by_id["r001"]["own_settings"] == {"options": ["lr"], "trials": 4}
    assert by_id["r000"]["own_settings"] == {}


def test_a_selection_chooses_runs_and_leaves_their_records_whole(write, runs, tmp_path):
    place = write(method="fedvpt")
    write(method="head")
    export_folder(runs, tmp_path / "one", selection=Selection(methods=("fedvpt",), metrics=("seen.mean",)))
    (line,) = lines(tmp_path / "one")
    assert line["result"] == json.loads((place / "result.json").read_text())
    assert "held_out" in line["result"]["metrics"]
    assert "held_out.mean" not in pd.read_parquet(tmp_path / "one" / "runs.parquet")


def test_a_run_whose_rounds_cannot_be_read_names_no_columns_of_them(write, runs, tmp_path):
    write()
    (write(seed=1) / "rounds.parquet").write_bytes(b"PAR1")
    left_out = []
    export_folder(runs, tmp_path / "exported", left_out.append)
    assert [sorted(line["columns"]) for line in lines(tmp_path / "exported")] == [["clients", "rounds"], ["clients"]]
    assert len(left_out) == 1
    assert len(archive.read(tmp_path / "exported")) == 2


def test_a_folder_of_an_earlier_version_is_refused_with_the_remedy(folder):
    (folder / FILE).unlink()
    with pytest.raises(RecordError, match=r"exported has no records\.jsonl\.xz, .* earlier version: export the runs"):
        archive.read(folder)


def test_a_small_file_that_unpacks_to_a_large_one_is_refused(folder, monkeypatch):
    monkeypatch.setattr(archive, "MIN_UNPACKED_LIMIT", 1000)
    (folder / FILE).write_bytes(packed := lzma.compress(b" " * 10**6))
    assert len(packed) < 1000
    with pytest.raises(RecordError, match=f"unpacks to more than {100 * len(packed):,} bytes"):
        archive.read(folder)


def test_a_line_larger_than_any_record_is_refused(folder, monkeypatch):
    monkeypatch.setattr("fedprompt.results.io.MAX_JSON_BYTES", 1000)
    with pytest.raises(RecordError, match=r"line 1, is not valid JSON \(it has .* bytes, at most 1,000 are read\)"):
        archive.read(folder)


def test_a_file_that_needs_too_much_memory_is_refused(folder, monkeypatch):
    monkeypatch.setattr(archive, "MAX_MEMORY", 2**20)
    with pytest.raises(RecordError, match=r"records\.jsonl\.xz cannot be read \(Memory usage limit exceeded\): export"):
        archive.read(folder)


def test_the_limits_leave_room_for_what_is_written(folder):
    raw = len(lzma.decompress(packed := (folder / FILE).read_bytes()))
    assert raw < archive.MAX_UNPACKED_PER_BYTE * len(packed)
    assert lzma.LZMADecompressor(lzma.FORMAT_XZ, archive.MAX_MEMORY).decompress(packed)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: b"", "is truncated"),
        (lambda content: content[:-1], "is truncated"),
        (lambda content: content + content, "more content than one export"),
        (lambda content: b"{}" + content, r"cannot be read \(Input format not supported"),
        (lambda content: content[:200] + b"\0\0\0\0" + content[204:], r"cannot be read \("),
        (lambda content: lzma.compress(lzma.decompress(content), lzma.FORMAT_ALONE), r"cannot be read \("),
        (lambda content: lzma.compress(b"\xff\n"), r"line 1, is not valid JSON"),
        (lambda content: lzma.compress(b'{"result": \n'), r"line 1, is not valid JSON"),
        (lambda content: lzma.compress(b"[" * 10**5), r"line 1, is not valid JSON \(it is nested more than"),
        (lambda content: lzma.compress(b""), "contains other runs than runs.parquet"),
    ],
)
def test_damaged_content_is_refused_with_the_remedy(damage, message, folder):
    (folder / FILE).write_bytes(damage((folder / FILE).read_bytes()))
    with pytest.raises(RecordError, match=f"{FILE}.*{message}.*: export the runs again"):
        archive.read(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda line: [], "is not a mapping"),
        (lambda line: {}, "states no record format"),
        (lambda line: line | {"result": []}, "states no record format"),
        (lambda line: line | {"result": line["result"] | {"format": 2}}, "reads up to 1"),
        (lambda line: line | {"result": line["result"] | {"seed": None}}, "lacks seed"),
        (lambda line: line | {"result": line["result"] | {"seed": 7}}, "has seed '7', but its configuration has '0'"),
        (lambda line: line | {"result": line["result"] | {"run_id": "../x"}}, "other runs than runs.parquet"),
        (lambda line: line | {"result": line["result"] | {"run_id": ["r001"]}}, "other runs than runs.parquet"),
        (lambda line: line | {"own_settings": None}, "something other than options and trials"),
        (lambda line: line | {"own_settings": {"trials": -1}}, "something other than options and trials"),
        (lambda line: line | {"columns": None}, "other than rounds and clients"),
        (lambda line: line | {"columns": {"runs": {}}}, "other than rounds and clients"),
        (lambda line: line | {"columns": {"rounds": ["round"]}}, "other than rounds and clients"),
        (lambda line: line | {"columns": {"rounds": TYPES | {"round": {}}}}, "other than rounds and clients"),
        (lambda line: line | {"columns": {"rounds": TYPES | {"round": "object"}}}, "the unknown type 'object'"),
        (lambda line: line | {"columns": {"rounds": TYPES | {"round": "list of int64"}}}, "other than whole numbers"),
        (lambda line: line | {"columns": {"rounds": TYPES | {"seed": "int64"}}}, "column seed, which belongs"),
        (lambda line: line | {"columns": {"rounds": {"round": "int64"}}}, "rounds has no column seen_mean"),
    ],
)
def test_a_line_that_is_not_one_of_a_run_is_refused_with_its_number(change, message, folder):
    first, second, third = lines(folder)
    assert first["result"]["run_id"] == "r001"
    put(folder, [change(first), second, third])
    with pytest.raises(RecordError, match=message) as refused:
        archive.read(folder)
    assert FILE in str(refused.value)
    assert "line 1, " in str(refused.value) or "other runs" in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_lines_of_other_runs_than_those_of_the_table_are_refused(folder):
    first, second, third = lines(folder)
    for content in ([first, second], [second, first, third], [first, second, third, third]):
        put(folder, content)
        with pytest.raises(RecordError, match=r"contains other runs than runs\.parquet: export the runs again"):
            archive.read(folder)
