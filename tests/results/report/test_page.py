import base64
import gzip
import json
import re

import pytest

from fedprompt.results.errors import RecordError
from fedprompt.results.report import write as write_report
from fedprompt.results.report.page import build


def content(page):
    """The data of the page's script, unpacked."""
    packed = re.search(r'<script type="text/plain" id="data">([^<]*)</script>', page).group(1)
    return json.loads(gzip.decompress(base64.b64decode(packed)))


def test_names_and_errors_from_records_are_escaped(write, runs):
    write("<img src=x onerror=alert(1)>", dataset="</script><b>")
    write("b", error="<script>alert(2)</script>")
    page = build(runs)
    assert "<img" not in page
    assert "<b>&lt;" not in page
    assert "</script><b>" not in page
    assert "alert(2)" not in page  # packed with the data
    assert "&lt;img src=x onerror=alert(1)&gt;" in page


def test_the_page_loads_nothing_from_elsewhere(write, runs):
    write()
    page = build(runs)
    assert set(re.findall(r'href="([^"]*)"', page)) == {"data:,", "#leaderboard"}
    assert " src=" not in page
    assert "default-src 'none'" in page


def test_a_run_has_its_options_environment_command_and_log(write, runs):
    folder = write(config={"settings": {"fedvpt": {"tokens": 10}}}, environment={"torch": "2.9"}, deviations=["one"])
    (folder / "log.txt").write_text("round 1\nround 2\n")
    data = content(build(runs))
    (run,) = data["runs"]
    lines = [data["pool"][i] for i in run["config"]]
    assert "settings.fedvpt.tokens = 10" in lines
    assert "rounds = 2" in lines
    assert [data["pool"][i] for i in run["environment"]] == ["torch = 2.9"]
    assert [data["pool"][i] for i in run["deviations"]] == ["one"]
    assert "--set fedvpt.tokens=10" in "".join(data["pool"][i] for i in run["command"])
    assert run["log"] == "round 1\nround 2"


def test_a_long_log_is_cut_at_its_start(write, runs):
    folder = write()
    (folder / "log.txt").write_text("start" + "x" * 10_000 + "the error")
    (run,) = content(build(runs))["runs"]
    assert run["log"].endswith("the error")
    assert len(run["log"]) < 4_000


def test_options_shared_by_runs_are_stored_once(write, runs):
    for seed in range(20):
        write(seed=seed)
    data = content(build(runs))
    assert len(data["pool"]) == len(set(data["pool"]))
    assert sum(line.startswith("rounds = ") for line in data["pool"]) == 1


def test_a_report_of_three_seeds_says_that_they_are_untestable(write, runs):
    for seed in range(3):
        write("a", seed=seed, seen=0.7)
        write("b", seed=seed, seen=0.5)
    assert "No method can be called the best; untestable with 3 seeds" in build(runs)


def test_the_leaderboard_names_tuned_methods_and_their_trials(write, runs):
    folder = write("chosen")
    write("plain")
    assert "Tuned on" not in build(runs)
    (runs / "own_settings.json").write_text(json.dumps({folder.name: {"options": ["lr"], "trials": 4}}))
    (caption,) = re.findall(r"<caption>(.*?)</caption>", build(runs), re.DOTALL)[:1]
    assert "Tuned on validation samples: chosen (4 trials). Not tuned: plain." in caption


def test_the_leaderboard_needs_no_script(write, runs):
    write("a", seen=0.5)
    write("b", 0.5)
    page = build(runs)
    assert '<th scope="row">a</th>' in page
    assert "50.0" in page
    assert "-" in re.sub(r"\s", "", page)


def test_a_report_is_written_to_the_directory_without_temporary_files(write, runs):
    write()
    assert write_report(runs) == runs / "report.html"
    assert [path.name for path in runs.iterdir() if path.is_file()] == ["report.html"]


def test_nothing_finished_is_an_error_and_nothing_is_written(write, runs, tmp_path):
    write(error="stopped")
    with pytest.raises(RecordError, match="finished"):
        write_report(runs, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_the_report_of_sixty_runs_is_below_eight_megabytes(write, runs):
    for method in ("a", "b", "c", "d", "e"):
        for alpha in (0.05, 0.5):
            for seed in range(6):
                write(method, alpha, seed)
    assert write_report(runs).stat().st_size < 8e6


def test_the_leaderboard_says_what_clients_upload_in_any_setting(write, runs):
    write("fedvpt", dataset="a", uploads={"parameters": ["prompt"]})
    write("fedvpt", dataset="b", uploads={"parameters": ["prompt"], "feature sums": ["standardize.sum"]})
    write("local", dataset="a", uploads={})
    page = build(runs)
    rows = dict(re.findall(r'<th scope="row">(\S+)</th>\n<td>[^<]*</td>\n<td>([^<]*)</td>', page))
    assert rows == {"fedvpt": "parameters, feature sums", "local": "nothing"}
