import xml.etree.ElementTree as ET
from dataclasses import replace

import matplotlib as mpl
import pytest
from made_runs import make_results
from matplotlib.figure import Figure
from toy_replication import AVG, FIGURES, POOLED, TOY, make_arm, make_run

from common.replication.comparison import compare
from common.replication.drawing import draw, shows_published

LOSS = "training loss (nats)"


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Returns the figure of some runs, without what takes long: to save it."""

    def drawn(*arms, name="figure", changed=(), toy=TOY):
        saved = []
        with monkeypatch.context() as patch:
            patch.setattr(Figure, "savefig", lambda figure, *args, **kwargs: saved.append(figure))
            panels = compare(toy, make_results(*arms))
            draw(toy, panels, name, tmp_path / "figure.png", changed)
        (figure,) = saved
        return figure

    return drawn


def dotted(figure):
    return [line for axis in figure.axes for line in axis.lines if line.get_linestyle() == ":"]


def test_the_curve_of_an_arm_ends_where_the_first_of_its_runs_was_stopped(drawn):
    """The mean of those that are left would be that of other runs."""
    whole, other = make_arm([(0.1, 0.2, 0.3), (0.3, 0.4)], num_rounds=3)
    stopped = replace(other, summary={"rounds": 2, "stopped": "It failed."})
    figure = drawn([whole, stopped])
    (line,) = figure.axes[0].lines
    assert line.get_xdata().tolist() == [1, 2, 3]
    assert line.get_ydata() == pytest.approx([0.2, 0.3, float("nan")], nan_ok=True)


def test_text_stays_text_and_names_panels_axes_arms_and_the_figure(tmp_path):
    losses = {"train_loss": (1.0, 0.5)}
    arms = [
        make_arm([(0.25, 0.5)] * seeds, alpha=alpha, metrics=losses, **keys)
        for alpha, seeds in ((0.1, 1), (2.0, 2))
        for keys in (AVG, {"mu": 1.0})
    ]
    before = dict(mpl.rcParams)
    draw(TOY, compare(TOY, make_results(*arms)), "first", tmp_path / "figure.svg")
    assert dict(mpl.rcParams) == before
    root = ET.parse(tmp_path / "figure.svg").getroot()
    texts = {"".join(node.itertext()) for node in root.iter() if node.tag.endswith("}text")}
    assert texts >= {
        *(FIGURES["first"].title, "alpha = 0.1", "alpha = 2", "FedAvg", "FedProx, μ = 1"),
        *("round", LOSS, "test accuracy (%)"),
    }
    assert not any("published" in text for text in texts)
    ids = [node.get("id") or "" for node in root.iter()]
    # Two quantities of two arms, where there are two seeds.
    assert sum(id_.startswith("FillBetweenPolyCollection") for id_ in ids) == 4


def test_any_other_name_gives_a_figure_without_title(drawn):
    assert drawn([make_run()]).get_suptitle() == ""
    assert drawn([make_run()], name="second").get_suptitle() == "The second figure"


def test_a_figure_has_a_row_for_every_metric_with_the_arms_that_have_it(drawn):
    figure = drawn(
        [make_run(metrics={"train_loss": (1.0, 0.5), "drift": (2.0, 1.0)})],
        [make_run((0.5,), metrics={"train_loss": (0.5,)}, **POOLED)],
    )
    shown = [(axis.get_ylabel(), len(axis.lines)) for axis in figure.axes]
    assert shown == [(LOSS, 2), ("test accuracy (%)", 2), ("drift", 1)]


def test_a_band_of_accuracies_stays_between_0_and_1(drawn):
    figure = drawn(make_arm([(0.01, 0.99), (0.2, 0.5)]))
    (band,) = figure.axes[0].collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (0, 1)


@pytest.fixture
def with_published(tmp_path):
    """The toy with a curve that somebody published of μ = 1 in the first figure."""
    folder = tmp_path / "toy"
    (folder / "published").mkdir(parents=True)
    (folder / "published" / "first.csv").write_text(
        "mu,round,test_accuracy\n1.0,1,0.5\n1.0,2,0.6\n"
    )
    (folder / "pyproject.toml").write_text('[tool.flwr.app.config]\nalgorithm = "prox"\n')
    return replace(TOY, folder=folder)


def test_published_curves_are_drawn_where_there_are_some(drawn, with_published):
    arms = [make_run(mu=mu, metrics={"train_loss": (1.0, 0.5)}) for mu in (0.5, 1.0)]
    loss, accuracy = drawn(arms, name="first", toy=with_published).axes
    assert [line.get_linestyle() == ":" for line in loss.lines] == [False, False]
    assert [line.get_linestyle() == ":" for line in accuracy.lines] == [False, False, True]
    assert dotted(drawn(arms, name="second", toy=with_published)) == []
    assert dotted(drawn(arms, toy=with_published)) == []


def test_whether_published_curves_are_drawn_can_be_told(with_published):
    arms = [make_run(mu=mu, metrics={"train_loss": (1.0, 0.5)}) for mu in (0.5, 1.0)]
    panels = compare(with_published, make_results(arms))
    assert shows_published(with_published, panels, "first")
    assert not shows_published(with_published, panels, "second")
    assert not shows_published(with_published, panels, "first", ["num_rounds=2"])
    others = compare(with_published, make_results(arms[:1]))
    assert not shows_published(with_published, others, "first")


def test_runs_that_differ_from_the_figures_are_told_and_not_compared_with_others(
    drawn, with_published
):
    changed = ["num_rounds=2", "batch_size=5"]
    figure = drawn([make_run()], name="first", changed=changed, toy=with_published)
    assert figure.get_suptitle() == "The first figure, but num_rounds=2 batch_size=5"
    assert dotted(figure) == []


def test_a_loss_that_spans_widely_is_drawn_in_logarithms_beside_a_linear_accuracy(drawn):
    figure = drawn([make_run(metrics={"train_loss": (100.0, 0.1)})])
    assert [axis.get_yscale() for axis in figure.axes] == ["log", "linear"]
