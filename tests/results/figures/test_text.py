"""Every text of every figure: large enough in print, whole, and apart from all others."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from fedprompt.results.figures.drawing import FIGURES
from fedprompt.results.figures.measurements.ablation import SETTINGS
from fedprompt.results.figures.method_styles import PLACES
from fedprompt.results.figures.pages import DEFAULT, STYLES
from fedprompt.results.figures.style import styled
from fedprompt.results.records.frames import clients, load, rounds
from tests.results.conftest import writer

NAMES = ["pep-fedpt", "majority", "fedvpt", "pep-fedpt:uniform", "fedvpt+fedprox:mu=0.1"]
NAMES += [name for name in PLACES if name not in NAMES]
PAGES = [("icml", 1), ("neurips", 1), ("ieee", 1), ("cvpr", 2)]
MARKS = {"↓", "↗", "↓↗"}  # belong to their points
# Figures of six settings.
SIX = "critical_difference", "accuracy_over_rounds six", "per_client six", "partition six", "differences six"
SAME = {f"ablation_{option}" for option in SETTINGS} - {"ablation_mixing", "ablation_shared_tokens"}
DRAWN = [*(name for name in FIGURES if name not in SAME), *SIX[1:]]
MARGIN = 0.7  # points that boxes may overlap: they contain the room below the line


@pytest.fixture(scope="module")
def one_run_per_setting(tmp_path_factory):
    """The frames of one method in six settings."""
    folder = tmp_path_factory.mktemp("runs")
    write = writer(folder)
    for alpha in (0.05, 0.1, 0.5, 1.0, 5.0, None):
        write("m", alpha, family="", convergence={"seen_change": 0.0})
    return load(folder / "runs"), rounds(folder / "runs"), clients(folder / "runs")


def inputs(frames, count, settings):
    """Inputs of figures of `count` methods with random accuracies, six seeds and one low method."""
    generator = np.random.default_rng(count)
    names = NAMES[:count]
    families = [("personal prompts", "parameter-efficient tuning", "global prompts")[i % 3] for i in range(count)]
    grid = pd.DataFrame({"method": names, "family": families}).merge(pd.DataFrame({"seed": range(6)}), how="cross")
    runs, over_rounds, of_clients = (
        frame[frame["setting"].isin(settings)].drop(columns=["method", "family", "seed"]).merge(grid, how="cross")
        for frame in frames
    )
    skill = dict(zip(names, [0.8, 0.3, *generator.uniform(0.6, 0.9, count)], strict=False))
    seen = runs["method"].map(skill) + generator.normal(0, 0.02, len(runs))
    scores = {"seen.mean": seen, "held_out.mean": seen - 0.05, "seen.worst": seen - 0.2}
    corrected = {f"prior.{name}": values + 0.03 for name, values in scores.items()}
    runs = runs.assign(run_id=[f"r{i}" for i in range(len(runs))], temperature=1.0, **scores, **corrected)
    runs = runs.assign(upload_mb=runs["method"].map({name: 10.0 ** (i % 5 - 2) for i, name in enumerate(names)}))
    runs = runs.assign(convergence_seen_change=np.where(runs["method"] == "fedvpt", 0.05, 0))
    ends = over_rounds["method"].map(skill)
    over_rounds = over_rounds.assign(seen_mean=ends * np.where(over_rounds["round"] == 0, 0.4, 1)).dropna()
    values = pd.DataFrame({"value": ["posterior", "prior", "default", "12"]})
    tables = {
        "mix_weights": [
            {"method": name, "setting": setting, "values": np.eye(10)} for name in names[:8] for setting in settings
        ]
    }
    return {
        "runs": runs,
        "rounds": over_rounds,
        "clients": of_clients,
        "holders": of_clients.assign(
            run_id=of_clients[["method", "setting"]].sum(axis=1) + of_clients["seed"].astype(str)
        ),
        "tables": tables,
        "swept": lambda option: runs.merge(values, how="cross"),
        "styles": None,
        "metric": "seen.mean",
        "reference": "pep-fedpt",
        "prior": True,
    }


@styled
def texts_of(figure):
    """The texts that are really drawn, with their boxes in points."""
    drawn = []
    with pytest.MonkeyPatch.context() as patch:
        draw = Text.draw
        patch.setattr(Text, "draw", lambda text, renderer: (drawn.append(text), draw(text, renderer))[1])
        figure.draw_without_rendering()
    found = {id(text): text for text in drawn if text.get_visible() and text.get_text().strip()}
    scale = 72 / figure.dpi
    return [(text, Bbox(scale * Text.get_window_extent(text).get_points())) for text in found.values()]


def drawn(frames, name, count, style, columns):
    """The figure of a name of `DRAWN`."""
    figure, _, six = name.partition(" ")
    every = list(frames[0]["setting"].unique())
    given = inputs(frames, count, every if six or figure in SIX else every[:2]) | {"style": style, "columns": columns}
    parameters = FIGURES[figure].__wrapped__.__code__.co_varnames[: FIGURES[figure].__wrapped__.__code__.co_argcount]
    return FIGURES[figure](**{key: given[key] for key in parameters})


def check(figure, style, columns):
    """The three demands on the texts of a figure."""
    width = (DEFAULT if style is None else STYLES[style])[columns]
    assert figure.get_figwidth() == width
    texts = texts_of(figure)
    assert len(texts) > 5
    small = {text.get_text(): text.get_fontsize() for text, _ in texts if text.get_fontsize() < 7}
    assert not small
    assert not any("$" in text.get_text() for text, _ in texts)  # exponents would be smaller
    paper = 72 * figure.get_size_inches()
    cut = [text.get_text() for text, box in texts if (box.min < 0).any() or (box.max > paper).any()]
    assert not cut
    covered = [
        (a.get_text(), b.get_text())
        for (a, one), (b, other) in combinations(texts, 2)
        if not {a.get_text(), b.get_text()} <= MARKS and _overlap(one, other)
    ]
    assert not covered


def _overlap(one, other):
    reach = np.minimum(one.max, other.max) - np.maximum(one.min, other.min)
    return (reach > MARGIN).all()


@pytest.mark.parametrize("name", DRAWN)
def test_the_texts_of_three_methods_are_large_whole_and_apart(one_run_per_setting, name):
    check(drawn(one_run_per_setting, name, 3, "icml", 1), "icml", 1)


@pytest.mark.slow
@pytest.mark.parametrize(("style", "columns"), PAGES)
@pytest.mark.parametrize("count", [12, 40])
@pytest.mark.parametrize("name", DRAWN)
def test_the_texts_of_every_figure_and_page_are_large_whole_and_apart(one_run_per_setting, name, count, style, columns):
    check(drawn(one_run_per_setting, name, count, style, columns), style, columns)


def test_the_check_finds_a_covered_a_cut_and_a_small_text(one_run_per_setting):
    for change in ({"position": (0.5, 0.5)}, {"position": (0.98, 0.2)}, {"position": (0.2, 0.2), "fontsize": 6}):
        figure = drawn(one_run_per_setting, "accuracy_by_alpha", 3, None, 1)
        figure.text(0.5, 0.5, "middle")
        check(figure, None, 1)
        figure.text(0, 0, "covering", **change)
        with pytest.raises(AssertionError):
            check(figure, None, 1)
