import json
import sys

import numpy as np
from PIL import Image

from tests.benchmark.conftest import refused
from tests.data import torchvision_made
from tests.data.made import image, tiny


def pets(root):
    for d, domain in enumerate(("photo", "sketch")):
        for c, label in enumerate(("cat", "dog")):
            for k in range(20):
                image(root / "pets" / domain / label / f"{k:02}.png", (120 * d, 120 * c, 10 * k))


def test_list_shows_which_data_sets_are_installed(bench, tmp_path):
    tiny(tmp_path)
    answer = bench("data", "list", "--json", "--data-root", tmp_path)
    rows = {row["name"]: row for row in json.loads(answer.out)}
    assert answer.code == 0
    assert rows["tiny-imagenet"]["present"] is rows["digits"]["present"] is True
    assert rows["cifar100"]["present"] is False
    assert rows["cifar100"]["absent"] == ["cifar-100-python.tar.gz"]
    assert rows["imagefolder:PATH"]["present"] is None
    assert rows["inaturalist-geo-1k"]["clients"] == 368
    assert {"bytes", "terms", "classes", "domains", "clients", "train", "test"} <= rows["pacs"].keys()
    text = bench("data", "list", "--data-root", tmp_path).out
    assert "domainnet-345          absent   345 classes, 6 domains, 409,832 / 176,743 images, 17.5 GB" in text


def test_data_root_can_be_set_by_environment_variable(bench, tmp_path, monkeypatch):
    tiny(tmp_path / "elsewhere")
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "elsewhere"))
    rows = json.loads(bench("data", "list", "--json").out)
    assert [row["name"] for row in rows if row["present"]] == ["digits", "tiny-imagenet"]


def test_absent_data_set_names_the_command_that_installs_it(bench):
    refused(bench("data", "verify", "cifar100"), "`bench data prepare cifar100`", "cifar-100-python.tar.gz")
    refused(bench("data", "show", "pacs", "--partition", "iid"), "`bench data prepare pacs`")
    refused(bench("data", "prepare", "pacs"), "PACS.zip has no download address")
    refused(bench("data", "verify", "pasc"), "did you mean 'pacs'")


def test_data_sets_of_libraries_that_are_absent_name_the_remedy(bench, tmp_path, monkeypatch):
    refused(bench("data", "show", "torchvision:Food101"), "`bench data prepare torchvision:Food101`")
    refused(bench("run", "--dataset", "torchvision:food101"), "did you mean 'Food101'")
    monkeypatch.setitem(sys.modules, "datasets", None)
    refused(bench("run", "--dataset", "hf:some/thing"), 'pip install "fedprompt-bench[hf]"')


def test_runs_and_figures_read_the_files_of_torchvision(bench, tmp_path):
    torchvision_made.eurosat(tmp_path, 20)
    words = ("--clients", 3, "--held-out", 1, "--data-root", tmp_path)
    shown = bench.ok("data", "show", "torchvision:EuroSAT", *words, "--out", "p.png")
    assert "drawn once with seed 0, is the test data" in shown.out
    run = bench.ok("run", "--method", "head", "--dataset", "torchvision:EuroSAT", *words, "--rounds", 1, "--json")
    assert json.loads(run.out)["data"]["split"] == shown.out.splitlines()[-2].removeprefix("split: ")


def test_verify_names_and_counts_unreadable_images_and_exits_with_2(bench, tmp_path):
    pets(tmp_path)
    bad = tmp_path / "pets" / "photo" / "cat" / "03.png"
    bad.write_bytes(b"no image")
    answer = bench("data", "verify", "imagefolder:pets", "--data-root", tmp_path)
    assert answer.code == 2
    assert f"fault: {bad} is not a readable image: unknown format" in answer.err
    assert "error: 1 unreadable images; --skip-corrupt leaves them out" in answer.err
    answer = bench("data", "verify", "imagefolder:pets", "--data-root", tmp_path, "--json")
    assert list(json.loads(answer.out)["unreadable"]) == ["photo/cat/03.png"]


def test_show_prints_a_table_and_draws_a_figure(bench, tmp_path):
    pets(tmp_path)
    words = ("--clients", 4, "--held-out", 1, "--alpha", 0.5, "--seeds", 3, "--data-root", tmp_path)
    answer = bench.ok("data", "show", "imagefolder:pets", *words, "--out", tmp_path / "view" / "p.png")
    lines = answer.out.splitlines()
    assert lines[0].startswith("imagefolder:pets, dirichlet(0.5): 4 clients, 1 held out")
    assert [line.split()[:3] for line in lines[5:9]] == [[str(i), "16", "4"] for i in range(4)]
    assert sum("held out" in line for line in lines[5:9]) == 1
    assert lines[9] == "split: every fifth image per domain and class, in order of path, is a test image"
    assert lines[10].startswith("images: from each image's size to 32x32 px, bicubic with antialiasing, both sides")
    drawn = np.asarray(Image.open(tmp_path / "view" / "p.png").convert("RGB"))
    assert drawn.shape[0] > 500
    blue = drawn[(drawn[..., 0] == 120) & (drawn[..., 1] == 120)]
    assert len(np.unique(blue[:, 2] // 10)) > 3  # sketches of dogs, whose blue says which they are
    assert [path.name for path in (tmp_path / "view").iterdir()] == ["p.png"]


def test_show_counts_test_samples_of_classes_without_training_samples(bench, tmp_path):
    # Training samples of cats come before those of dogs, as do test samples; the last client has no cat.
    pets(tmp_path)
    (tmp_path / "f.json").write_text('{"train": [[0, 16], [17, 18]], "test": [[0], [1, 4]]}')
    answer = bench.ok("data", "show", "imagefolder:pets", "--partition-file", "f.json", "--data-root", tmp_path)
    assert "test samples of classes without training samples on their client: 1 of 3 (33.3%)" in answer.out


def test_show_prints_the_label_skew(bench, tmp_path):
    # Cats come before dogs. Client 0 has 3 cats and a dog and is tested on a cat and a dog, client 1 has and gets dogs:
    # sums of squares 5/8 and 1, so alpha = (1 - 13/16) / (2 * 13/16 - 1) = 0.3; distances 1/4 and 0.
    pets(tmp_path)
    (tmp_path / "f.json").write_text('{"train": [[0, 1, 2, 16], [17, 18]], "test": [[0, 4], [5, 6]]}')
    words = ("--partition-file", "f.json", "--held-out", 0, "--data-root", tmp_path, "--out", "p.png")
    line = "label skew: concentration 0.3, drift 0.00, test drift 0.12, majority share 88%, 1.5 classes per client, "
    assert line + "0.0% of test samples in untrained classes" in bench("data", "show", "imagefolder:pets", *words).out


def test_more_samples_per_client_than_digits_has_are_one_line(bench):
    refused(bench("data", "show", "digits", "--samples-per-client", 72), "--samples-per-client 72", "at most 71 each")


def test_show_leaves_out_unreadable_images_with_skip_corrupt(bench, tmp_path):
    pets(tmp_path)
    (tmp_path / "pets" / "photo" / "cat" / "00.png").write_bytes(b"no image")
    words = ("imagefolder:pets", "--partition", "iid", "--clients", 2, "--data-root", tmp_path, "--out", "p.png")
    refused(bench("data", "show", *words), "00.png is not a readable image", "--skip-corrupt")
    answer = bench.ok("data", "show", *words, "--skip-corrupt")
    assert "note: 1 unreadable images excluded" in answer.out


def test_figure_is_named_after_data_set_and_partition(bench, tmp_path):
    bench.ok("data", "show", "digits", "--partition", "iid", "--clients", 3)
    assert [path.name for path in tmp_path.glob("*.png")] == ["digits-iid.png"]


def test_show_draws_one_federation(bench):
    refused(bench("data", "show", "digits", "--alpha", "0.1,1"), "name one --alpha")


def test_saved_federation_is_used_by_a_run(bench):
    bench.ok("data", "show", "digits", "--alpha", "0.1", "--seed", "3", "--save", "fed.json")
    small = ("--method", "head", "--seed", "3", "--rounds", "1", "--json")
    drawn = json.loads(bench("run", *small, "--alpha", "0.1").out)
    read = json.loads(bench("run", *small, "--partition-file", "fed.json", "--out", "again").out)
    assert read["federation"]["hash"] == drawn["federation"]["hash"]


def test_unwritable_federation_file_is_named(bench):
    answer = bench("data", "show", "digits", "--alpha", "0.1", "--save", "absent/fed.json")
    assert answer.code == 2
    assert "--save absent/fed.json cannot be written" in answer.err
