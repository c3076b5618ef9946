import re

import pytest

from fedprompt.benchmark.config.options import options
from fedprompt.benchmark.config.preset_files import PRESETS, preset_names, read_preset
from fedprompt.benchmark.errors import ConfigError
from fedprompt.data import registry

PAPER = {
    "paper-cifar100": ("cifar100", "dirichlet"),
    "paper-tiny-imagenet": ("tiny-imagenet", "dirichlet"),
    "paper-domainnet": ("domainnet-10", "domain"),
    "paper-inaturalist": ("inaturalist-user-120k", "natural"),
    "paper-office-home": ("office-home", "domain"),
    "paper-vlcs": ("vlcs", "domain"),
}

STUDY = {"study-cifar10": 28, "study-pacs": 10, "study-tiny-imagenet": 16}
"""Preset -> its runs per seed."""

PUBLISHED = {
    "published-fedcof": {"fedncm", "fed3r", "fedcof"},
    "published-fedit": {"fedlora:fedit"},
    "published-fedl2p": {"fedl2p"},
    "published-fedlora": {"fedlora"},
    "published-fedpr": {"fedpr:frobenius"},
    "published-pfedpg": {"pfedpg"},
    "published-pfedpg-office-caltech10": {"pfedpg"},
    "published-pfpt": {"pfpt"},
    "published-sgpt": {"sgpt"},
    "published-sgpt-office-caltech10": {"sgpt"},
}


@pytest.mark.parametrize("name", STUDY)
def test_the_presets_of_the_study_differ_in_data_only_and_report_no_seed_of_a_choice(name):
    runs = options({"checkpoint": "random"}, name).grid(lambda *_: "absent")
    assert len(runs) == STUDY[name] * len({run.seed for run in runs})
    assert {run.seed for run in runs} <= set(range(100)), "choices use the seeds from 100"
    assert {(run.backbone, run.image_size, run.patch_size) for run in runs} == {("vit_tiny_patch16_224", 64, 8)}
    assert {(run.rounds, run.standardize, run.precision, run.held_out) for run in runs} == {
        (24, "features", "bf16", 0.2)
    }


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_preset_defines_a_grid_without_its_data(name):
    runs = options({"checkpoint": "random"}, name).grid(lambda *_: "absent")
    assert {run.method for run in runs} == PUBLISHED[name]
    assert len(runs) == 3 * len(PUBLISHED[name])


@pytest.mark.parametrize(
    ("name", "optimizer"),
    [
        ("published-pfpt", ("adam", 1e-4, 0.9, 0.98, 1e-6)),
        ("published-fedl2p", ("adam", 1e-4, 0.9, 0.999, 1e-8)),
        ("published-fedpr", ("adam", 0.1, 0.9, 0.999, 1e-8)),
        ("published-fedit", ("adamw", 3e-4, 0.9, 0.999, 1e-8)),
    ],
)
def test_published_preset_trains_with_the_optimizer_of_the_official_code(name, optimizer):
    run = options({"checkpoint": "random"}, name).grid(lambda *_: "absent")[0]
    assert (run.optimizer, run.lr, run.beta1, run.beta2, run.eps) == optimizer
    assert (run.momentum, run.weight_decay) == (None, 0)


def test_presets_after_vpt_and_sgpt_load_the_weights_that_their_code_loads():
    assert options({}, "published-sgpt").backbone == "vit_base_patch16_224.orig_in21k"


def test_presets_of_office_caltech10_train_a_client_per_domain_as_the_cards_say():
    chosen = {name: options({}, f"published-{name}-office-caltech10") for name in ("pfedpg", "sgpt")}
    for preset in chosen.values():
        assert (preset.datasets, preset.partition, preset.clients_per_domain) == (("office-caltech10",), "domain", 1)
        assert (preset.participation, preset.held_out, preset.epochs) == (1, 0, 5)
    assert (chosen["pfedpg"].lr, chosen["pfedpg"].batch_size, chosen["pfedpg"].rounds) == (0.25, 64, 100)
    assert (chosen["sgpt"].lr, chosen["sgpt"].batch_size, chosen["sgpt"].rounds) == (0.01, 50, 40)
    (fields,) = {run.method: run.settings["sgpt"] for run in chosen["sgpt"].grid(lambda *_: "absent")}.values()
    assert (fields["groups"], fields["momentum"], fields["key_momentum"]) == (4, 0.5, 0)


def test_the_ablation_changes_one_field_at_a_time_and_is_read_on_validation_samples():
    chosen = options({}, "ablation-pep")
    default, *others = {run.method: run.settings["pep-fedpt"] for run in chosen.grid()}.items()
    assert default[0] == "pep-fedpt"
    changed = [next(iter(fields.items() - default[1].items()))[0] for _, fields in others]
    assert all(len(fields.items() - default[1].items()) == 1 for _, fields in others)
    assert set(changed) == set(default[1]) - {"layer"}  # J is varied as a share of the depth
    assert [run.method for run in chosen.grid()[:: len(chosen.seeds)]][: len(others) + 1] == list(chosen.methods)
    assert chosen.validation > 0
    assert not set(chosen.seeds) & set(range(100)), "reported results use the seeds from 0"


@pytest.fixture(params=PAPER)
def paper(request):
    return request.param, options({}, request.param)


def test_every_preset_has_valid_options_for_its_partition():
    assert set(preset_names()) == {"quick", "ablation-pep", *STUDY, *PAPER, *PUBLISHED}
    for name in preset_names():
        chosen = options({}, name)
        for alpha in chosen.alpha or (None,):
            assert chosen.settings_at(alpha).kind == chosen.partition


def test_paper_preset_has_the_protocol_of_the_paper(paper):
    name, chosen = paper
    assert (*chosen.datasets, chosen.partition) == PAPER[name]
    assert chosen.datasets[0] in registry.names()
    assert (chosen.rounds, chosen.epochs, chosen.batch_size) == (60, 5, 32)
    assert (chosen.lr, chosen.momentum, chosen.weight_decay) == (0.01, 0.9, 1e-5)
    assert (chosen.held_out, chosen.seeds) == (0.1, (0, 1, 2))
    assert chosen.backbone == "vit_base_patch16_224.orig_in21k"


@pytest.mark.parametrize(
    ("name", "seen", "cohort"), [("paper-cifar100", 90, 4), ("paper-domainnet", 90, 9), ("paper-inaturalist", 8347, 10)]
)
def test_cohort_has_the_size_that_the_preset_documents(name, seen, cohort):
    assert round(options({}, name).participation * seen) == cohort


@pytest.mark.parametrize("name", sorted({*PAPER, *PUBLISHED}))
def test_every_value_of_a_preset_from_a_publication_names_its_source(name):
    lines = (PRESETS / f"{name}.yaml").read_text().splitlines()
    values = [line for line in lines if not line.lstrip().startswith("#")]
    assert len(values) > 8
    for line in values:
        assert re.search(r"# \[[PLCR]\]", line), line


def test_command_line_takes_precedence_over_a_preset():
    assert options({"rounds": 3, "partition": "iid"}, "paper-cifar100").settings_at(None).label == "iid"
    assert options({"rounds": 3}, "paper-cifar100").rounds == 3


@pytest.mark.parametrize(("name", "meant"), [("Quick", "quick"), ("paper-cifar10", "paper-cifar100")])
def test_an_unknown_preset_gets_a_suggestion_in_any_case(name, meant):
    with pytest.raises(ConfigError, match=f"unknown preset '{name}' .did you mean '{meant}'"):
        read_preset(name, [])


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("rounds: 5\nseeds: [1\nlr: 3\n", 3),
        ("rounds: 5\n lr: 3\n", 2),
        ("# one\n# two\nlr: 3\n\tepochs: 2\n", 4),
        ("lr: 3\nepochs: \x07\n", 2),
    ],
)
def test_a_preset_that_is_not_yaml_names_its_line_in_one_line(content, line, tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=rf"preset {path} is not YAML, line {line}: .+") as raised:
        read_preset(str(path), ["rounds", "lr"])
    assert "\n" not in str(raised.value)


def test_a_preset_may_give_seeds_as_a_range(tmp_path):
    path = tmp_path / "own.yaml"
    for text in ("0-2,7", "[0-2, 7]", '"0-2,7"'):
        path.write_text(f"seeds: {text}\n")
        assert options({}, str(path)).seeds == (0, 1, 2, 7)
