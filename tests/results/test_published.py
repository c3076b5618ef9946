"""The READMEs of published tables say what their tables say."""

import json

import numpy as np
import pytest

from fedprompt.methods import registry
from fedprompt.results.errors import RecordError
from fedprompt.results.records.export import export_folder
from tests.results.records.test_croissant import faults
from tools import render_published
from tools.render_published import PUBLISHED, TEMPLATE, Numbers, main, metadata, render, wrapped

FOLDERS = sorted(path.parent for path in PUBLISHED.glob("*/runs.parquet"))


RENDERED = [folder for folder in FOLDERS if (folder / TEMPLATE).is_file()]  # not the submissions of `bench submit`


def test_every_folder_with_runs_has_a_readme():
    assert {"cifar10-vit-tiny", "embedded-default", "tuned"} <= {folder.name for folder in RENDERED}
    assert [folder.name for folder in FOLDERS if not (folder / "README.md").is_file()] == []


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_croissant_metadata_describe_the_files_as_the_specification_requires(folder):
    text = (folder / "croissant.json").read_text(encoding="utf-8")
    assert faults(json.loads(text), folder) == []
    assert text == metadata(folder), "run python tools/render_published.py"


@pytest.mark.parametrize("folder", RENDERED, ids=lambda folder: folder.name)
def test_a_readme_is_its_template_with_the_numbers_of_its_tables(folder):
    again = render(folder)
    assert (folder / "README.md").read_text(encoding="utf-8") == again, "run python tools/render_published.py"


@pytest.fixture
def folder(write, runs, tmp_path):
    """Two methods in two settings: seeds 0 and 1 at alpha 0.05, seed 0 at 5."""
    for method, alpha, seed, seen in [
        ("a", 0.05, 0, 0.5), ("a", 0.05, 1, 0.7), ("a", 5.0, 0, 0.8),
        ("b", 0.05, 0, 0.4), ("b", 0.05, 1, 0.7), ("b", 5.0, 0, 0.6),
    ]:  # fmt: skip
        write(method=method, alpha=alpha, seed=seed, seen=seen)
    export_folder(runs, tmp_path / "published")
    return tmp_path / "published"


@pytest.fixture
def n(folder):
    return Numbers(folder)


def test_a_mean_over_settings_gives_each_setting_the_same_weight(n):
    assert n.mean("a") == pytest.approx(70)  # of 60 and 80
    assert n.mean("a", alpha=0.05) == pytest.approx(60)
    assert n.mean("a", "held_out.mean", seed=1) == pytest.approx(40)
    assert n.means(["b", "a"], alpha=5).round(9).to_dict() == {"b": 60, "a": 80}
    assert n.mean("a", "never_trained") == pytest.approx(25)
    assert n.mean("a", "upload_mb") == pytest.approx(2.5)


def test_differences_are_paired_by_setting_and_seed(n):
    assert n.gaps("a", "b").tolist() == [10, 0, 20]
    difference = n.difference("a", "b")
    assert (difference.value, difference.n) == (pytest.approx(12.5), 3)  # of 5 and 20
    assert n.difference("b", "a", alpha=5).value == pytest.approx(-20)
    assert n.share("a", "b") == pytest.approx(250 / 3)  # two pairs and half of the tie
    assert n.share("a", "b", alpha=0.05) == pytest.approx(75)


def test_differences_to_a_reference_have_the_largest_first(n, folder, write, runs):
    write(method="c", alpha=5.0, seed=0, seen=0.9)
    export_folder(runs, folder)
    assert {name: round(found.value, 6) for name, found in Numbers(folder).differences("b").items()} == {
        "c": 30,
        "a": 12.5,
    }
    assert list(Numbers(folder).differences("b")) == ["c", "a"]


def test_a_corrected_method_has_the_scores_of_prior_corrected_logits(n):
    assert n.mean("a+prior", alpha=5) == pytest.approx(90)
    assert n.difference("a+prior", "a", alpha=5).value == pytest.approx(10)


def test_a_table_has_the_best_method_first_and_marks_missing_values(n):
    assert n.table(["seen.mean", "held_out_adapted.mean"], ["b", "a"], [0.05]).splitlines() == [
        "| method | seen.mean, alpha 0.05 | held_out_adapted.mean, alpha 0.05 |",
        "| --- | ---: | ---: |",
        "| a | 60.0 | n/a |",
        "| b | 55.0 | n/a |",
    ]
    n._all = n._all[(n._all["method"] != "b") | (n._all["alpha"] == 5)]
    assert n.table(["seen.mean"], ["b", "a"], [0.05, 5]).splitlines()[2:] == [
        "| a | 60.0 | 80.0 |",
        "| b | n/a | 60.0 |",
    ]
    assert n.table(["upload_mb"]).splitlines()[2:] == ["| a | 2.5 |", "| b | 2.5 |"]


def test_methods_below_a_floor_have_a_lower_mean_and_come_by_name(n):
    assert n.below(["b", "a"], "a", "seen.mean", 0.05) == ["b"]  # 55 and 60
    assert n.below(["b", "a"], "b", "seen.mean", 0.05) == []
    assert n.below(["b", "a"], "a+prior", "seen.mean", 5) == ["a", "b"]  # 60 and 80, below 90


def test_a_mean_of_clients_is_that_of_the_seen_ones_in_percent(n):
    rows = n.per_client("a", alpha=5)
    seen = [value for value, held_out in zip(rows["accuracy"], rows["held_out"], strict=True) if not held_out]
    assert 0 < len(seen) < len(rows)
    assert n.client_mean("a", "accuracy", 5) == pytest.approx(100 * np.nanmean(seen))


def test_numbers_of_a_part_are_those_of_the_runs_with_a_value(n):
    assert n.where("alpha", "0.05").mean("a") == pytest.approx(60)
    assert n.where("alpha", "0.05").where("seed", "1").mean("a") == pytest.approx(70)
    assert n.where("alpha", "5.0").difference("a", "b").value == pytest.approx(20)


def test_coverage_of_two_seeds_is_one_half(n):
    assert n.coverage == "50"  # both values are on one side of 0 in half of all sign patterns


def test_a_folder_of_the_folder_has_numbers_of_its_own(folder, n, write, runs):
    write(method="c", alpha=5.0, seed=0, seen=0.3)
    export_folder(runs, folder / "longer")
    assert n.part("longer").methods == ["a", "b", "c"]
    assert n.methods == ["a", "b"]


def test_p_against_a_reference_is_that_of_the_mean_over_settings(write, runs, tmp_path):
    for seed in range(6):
        write(method="a", alpha=0.05, seed=seed, seen=0.5 + 0.01 * seed)
        write(method="b", alpha=0.05, seed=seed, seen=0.4)
    export_folder(runs, tmp_path / "published")
    assert Numbers(tmp_path / "published").against("b").to_dict() == {"a": 2 / 64}  # all six seeds favour a


def test_rows_of_rounds_and_clients_are_those_of_the_selected_runs(n):
    assert n.per_client("b", seed=1).query("rounds_trained == 0 and not held_out")["client"].tolist() == [2]
    assert n.has("rounds")
    assert not n.has("held_out_adapted.mean")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda n: n.mean("c"), "unknown method 'c': available: a, a\\+prior, b, b\\+prior"),
        (lambda n: n.mean("a", "seen.men"), "unknown metric 'seen.men': did you mean 'seen.mean'"),
        (lambda n: n.difference("a", "b", alpha=0.5), "a has no runs with alpha 0.5: available: 0.05, 5.0"),
        (lambda n: n.where("alpa", "5"), "unknown column 'alpa': did you mean 'alpha'"),
        (lambda n: n.where("alpha", "5"), "unknown alpha '5': .*5.0"),
        (lambda n: n.per_client("a", alpha=5, seed=1), "a has no runs with seed 1: available: 0"),
        (lambda n: n.table(["seen.mean"], ["a", "c"], [0.05]), "unknown method 'c'"),
        (lambda n: n.share("a", "b", "held_out_adapted.mean"), "a and b share no setting and seed with a value of"),
    ],
)
def test_what_the_tables_do_not_contain_is_refused_with_the_reason(n, call, message):
    with pytest.raises(RecordError, match=message):
        call(n)


def test_paragraphs_are_filled_and_spans_tables_and_code_stay_as_they_are():
    long = "word " * 30
    text = f"# {long}\n\n- {long}\n  `a b c`\n- short\n\n```sh\n{long}\n```\n| {long} |\n\nx\ny\n"
    lines = wrapped(text).splitlines()
    assert lines[0] == f"# {long}"
    assert lines[2:5] == [("- " + "word " * 24).rstrip(), "  " + "word " * 6 + "`a b c`", "- short"]
    assert [lines[7], lines[9], lines[11]] == [long, f"| {long} |", "x y"]
    assert wrapped("word " * 24 + "`a b c`\n").splitlines() == [("word " * 24).rstrip(), "`a b c`"]


def test_folders_are_rendered_by_name_and_faults_are_reported_in_one_line(folder, monkeypatch, capsys):
    monkeypatch.setattr(render_published, "PUBLISHED", folder.parent)
    template = folder / TEMPLATE
    template.write_text("{{ n.mean('a')|one }} {{ n.difference('a', 'b').value|signed }}\n")
    assert main(["published"]) == 0
    assert (folder / "README.md").read_text() == "70.0 +12.5\n"
    for text, message in [
        ("{{ n.mean('c') }}", "unknown method 'c'"),
        ("{{ typo }}", "'typo' is undefined"),
        ("{% if %}", "Expected"),
    ]:
        template.write_text(text)
        capsys.readouterr()
        assert main([]) == 2
        assert message in capsys.readouterr().err
    assert main(["absent"]) == 2
    assert (folder / "README.md").read_text() == "70.0 +12.5\n"


def test_the_readme_lists_each_method_once_and_the_sizes_of_each_data_set():
    rows = render_published.Registered().methods().splitlines()[2:]
    named = [
        word.strip("[]").partition("](")[0] for row in rows for word in row.split(" | ")[1].strip(" |").split(", ")
    ]
    assert sorted(named) == sorted(registry.METHODS)
    sizes = render_published.Registered().datasets()
    assert "| `digits` | 10 | 1,437 | 360 |  |" in sizes.splitlines()
    assert "`inaturalist-geo-100`, `inaturalist-geo-10k`" in sizes
    assert "npz" not in sizes
