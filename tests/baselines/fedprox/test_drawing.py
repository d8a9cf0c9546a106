import xml.etree.ElementTree as ET

import matplotlib as mpl
import pytest
from fedprox.comparison import compare
from fedprox.drawing import draw
from fedprox.figures import FIGURES
from fedprox_runs import FEDAVG, make_arm, make_results, make_run
from matplotlib.figure import Figure

ACCURACIES = (0.25, 0.5)
LOSS, DISSIMILARITY, MU = "training loss (nats)", "variance of local gradients", "μ"


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Returns the figure of some runs, without what takes long: to save it."""

    def drawn(*arms, name="figure", changed=()):
        saved = []
        with monkeypatch.context() as patch:
            patch.setattr(Figure, "savefig", lambda figure, *args, **kwargs: saved.append(figure))
            draw(compare(make_results(*arms)), name, tmp_path / "figure.png", changed)
        (figure,) = saved
        return figure

    return drawn


def labels(figure):
    return [axis.get_ylabel() for axis in figure.axes if axis.get_ylabel()]


def dotted(figure):
    return [line for axis in figure.axes for line in axis.lines if line.get_linestyle() == ":"]


def test_text_stays_text_and_names_panels_axes_arms_and_the_figure(tmp_path):
    losses = {"train_loss": (1.0, 0.5)}
    arms = [
        make_arm([ACCURACIES] * seeds, stragglers_fraction=p, metrics=losses, **keys)
        for p, seeds in ((0.0, 1), (0.9, 2))
        for keys in (FEDAVG, {"mu": 1.0})
    ]
    before = dict(mpl.rcParams)
    draw(compare(make_results(*arms)), "figure1_mnist", tmp_path / "figure.svg")
    assert dict(mpl.rcParams) == before
    root = ET.parse(tmp_path / "figure.svg").getroot()
    texts = {"".join(node.itertext()) for node in root.iter() if node.tag.endswith("}text")}
    assert texts >= {
        *(FIGURES["figure1_mnist"].title, "0 % stragglers", "90 % stragglers"),
        *("FedAvg, stragglers dropped", "FedProx, μ = 1"),
        *("round", LOSS, "test accuracy"),
    }
    assert "published" not in texts
    ids = [node.get("id") or "" for node in root.iter()]
    # Two quantities of two arms, where there are two seeds.
    assert sum(id_.startswith("FillBetweenPolyCollection") for id_ in ids) == 4


def test_any_other_name_gives_a_figure_without_title(drawn):
    assert drawn([make_run()]).get_suptitle() == ""
    assert drawn([make_run()], name="figure3").get_suptitle() == "Figures 3 and 11: adaptive μ"


def test_a_figure_has_a_row_for_every_quantity_that_all_arms_have(drawn):
    everything = {"train_loss": (1.0, 0.5), "dissimilarity": (2.0, 1.0), "mu": (1.0, 1.0)}
    without = everything | {"dissimilarity": (None, None)}
    assert labels(drawn([make_run()])) == ["test accuracy"]
    assert labels(drawn([make_run(metrics=everything)])) == [LOSS, "test accuracy", DISSIMILARITY]
    both = [make_run(metrics=everything), make_run(metrics=without, **FEDAVG)]
    assert labels(drawn(both)) == [LOSS, "test accuracy"]
    one_seed_without = [make_run(metrics=everything), make_run(metrics=without, seed=1)]
    assert labels(drawn(one_seed_without)) == [LOSS, "test accuracy"]


def test_mu_has_a_row_where_it_is_adaptive(drawn):
    fixed = make_run(metrics={"mu": (1.0, 1.0)})
    adaptive = make_run(metrics={"mu": (1.0, 1.1)}, adaptive_mu=True)
    assert labels(drawn([fixed, adaptive])) == ["test accuracy", MU]
    assert labels(drawn([fixed])) == ["test accuracy"]


def test_a_run_without_any_accuracy_has_a_figure_nevertheless(drawn):
    assert labels(drawn([make_run((None, None))])) == ["test accuracy"]


def test_a_band_of_accuracies_stays_between_0_and_1(drawn):
    figure = drawn(make_arm([(0.01, 0.99), (0.2, 0.5)]))
    (band,) = figure.axes[0].collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (0, 1)


def test_published_curves_are_drawn_where_there_are_some(drawn):
    arms = [make_run(mu=mu, metrics={"train_loss": (1.0, 0.5)}) for mu in (0.5, 1.0)]
    figure = drawn(arms, name="figure1_synthetic")
    loss, accuracy = figure.axes
    # Of mu = 1, and not of mu = 0.5.
    assert len(dotted(figure)) == 2
    assert [line.get_linestyle() == ":" for line in loss.lines] == [False, False, True]
    assert [line.get_linestyle() == ":" for line in accuracy.lines] == [False, False, True]
    assert dotted(drawn(arms, name="figure1_mnist")) == []
    assert dotted(drawn(arms)) == []


def test_runs_that_differ_from_the_figures_are_told_and_not_compared_with_others(drawn):
    changed = ["num_rounds=2", "batch_size=5"]
    figure = drawn([make_run()], name="figure1_synthetic", changed=changed)
    title = FIGURES["figure1_synthetic"].title
    assert figure.get_suptitle() == f"{title}, but num_rounds=2 batch_size=5"
    assert dotted(figure) == []


def test_a_loss_that_spans_widely_is_drawn_in_logarithms_beside_a_linear_accuracy(drawn):
    figure = drawn([make_run(metrics={"train_loss": (100.0, 0.1)})])
    assert [axis.get_yscale() for axis in figure.axes] == ["log", "linear"]
