import numpy as np
import pytest
from matplotlib.figure import Figure

from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.planning import federation_plots
from fedprompt.data.federation import PartitionSettings, build
from tests.data.toy import balanced, owned, stream


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """The figures that were written."""
    figures: list[Figure] = []

    def savefig(self, path, **_):
        self.canvas.draw()
        figures.append(self)
        path.touch()

    monkeypatch.setattr(Figure, "savefig", savefig)
    return figures


def iid(clients, held_out=0, classes=2):
    settings = PartitionSettings("iid", clients=clients, held_out=held_out)
    return build(balanced(4 * clients * classes, clients * classes, classes), settings, stream(0))


def of_sizes(train, test):
    return build(owned(train, test), PartitionSettings("natural", held_out=0), stream(0))


def panels(federation, drawn, tmp_path):
    """The axes: classes, their colours, sizes, images."""
    samples = int(federation.counts.sum()), int(federation.test_counts.sum())
    federation_plots.draw(federation, balanced(*samples, len(federation.classes)), tmp_path / "p.png")
    return drawn[-1].axes


def test_few_clients_have_bars_of_training_and_test_samples(drawn, tmp_path):
    _, _, sizes, *_ = panels(of_sizes([3, 5, 4], [2, 1, 6]), drawn, tmp_path)
    bars = [[(bar.get_x(), bar.get_width(), bar.get_height()) for bar in part] for part in sizes.containers]
    assert [height for _, _, height in bars[0]] == [5, 4, 3]  # largest first
    assert [height for _, _, height in bars[1]] == [1, 6, 2]
    assert [left for left, _, _ in bars[1]] == pytest.approx([left + width for left, width, _ in bars[0]])


def test_many_clients_have_two_falling_step_lines(drawn, tmp_path):
    _, _, sizes, *_ = panels(of_sizes(range(1, 31), [1, 0, 2] * 10), drawn, tmp_path)
    lines = sizes.patches
    assert [line.get_fill() for line in lines] == [False, False]
    assert lines[0].get_data().values.tolist() == list(range(30, 0, -1))
    assert lines[1].get_data().values.tolist() == [2] * 10 + [1] * 10 + [0] * 10
    assert sizes.get_yscale() == "linear"


def test_sizes_are_logarithmic_if_one_client_is_much_larger(drawn, tmp_path):
    _, _, sizes, *_ = panels(of_sizes([1] * 29 + [101], [0] * 29 + [1]), drawn, tmp_path)
    assert sizes.get_yscale() == "symlog"
    assert sizes.get_ylim()[0] == 0


def test_equal_counts_have_the_middle_colour_of_the_scale(drawn, tmp_path):
    classes, *_ = panels(iid(3), drawn, tmp_path)  # 4 samples of every class for every client
    (image,) = classes.images
    assert float(image.norm(4)) == pytest.approx(np.log(4 / (4 / 3)) / np.log(9))  # from 4 / 3 to 12: 0.5


def test_colours_range_from_the_smallest_to_the_largest_count():
    norm = federation_plots._norm(np.ma.masked_equal([[0, 2], [50, 7]], 0))
    assert (norm.vmin, norm.vmax) == (2, 50)


def test_ticks_are_round_numbers_and_a_line_precedes_held_out_clients(drawn, tmp_path):
    classes, *_ = panels(iid(100, 25), drawn, tmp_path)
    ticks = [tick for tick in classes.get_xticks() if 0 <= tick < 100]
    assert all(tick % 10 == 0 for tick in ticks)
    assert len(ticks) >= 5
    (line,) = classes.lines
    assert line.get_xdata()[0] == 74.5


def test_few_clients_are_labelled_by_id(drawn, tmp_path):
    federation = iid(4, 1)
    classes, *_ = panels(federation, drawn, tmp_path)
    names = [label.get_text() for label in classes.get_xticklabels()]
    assert names == [str(k) for k in (*federation.seen, *federation.held_out)]


def test_some_of_very_many_clients_are_drawn_and_all_are_counted(drawn, tmp_path):
    classes, *_ = panels(iid(1000, 100), drawn, tmp_path)
    (image,) = classes.images
    assert image.get_array().shape == (2, 400)
    assert image.get_extent()[:2] == [-0.5, 999.5]
    assert classes.get_xlabel() == "400 of 1,000 clients; held out: right of the line"


def test_many_classes_share_lines(drawn, tmp_path):
    classes, *_ = panels(iid(2, classes=401), drawn, tmp_path)  # 4 samples of each class: lines of 3 classes hold 12
    lines = classes.images[0].get_array()
    assert lines.shape == (134, 2)
    assert (lines[:-1] == 12).all()
    assert (lines[-1] == 8).all()  # 401 = 133 x 3 + 2
    assert classes.get_ylabel() == "class, 3 per line"


@pytest.mark.parametrize(("name", "reason"), [("p.xyz", r"unknown image format \.xyz"), ("file/p.png", "file exists")])
def test_unwritable_figure_is_refused_by_name(tmp_path, name, reason):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=rf"--out .*{name}.*{reason}"):
        federation_plots.draw(iid(2), balanced(16, 4, 2), tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
