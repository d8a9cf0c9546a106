from fedprox.metrics import METRICS
from fedprox.replication import REPLICATION
from fedprox_runs import FEDAVG, make_run
from made_runs import make_results

from common.replication.comparison import by_metric, compare

EVERYTHING = {"train_loss": (1.0, 0.5), "dissimilarity": (2.0, 1.0), "mu": (1.0, 1.0)}


def shown(*runs):
    panels = compare(REPLICATION, make_results(runs))
    return [metric.name for metric in by_metric(panels, METRICS)]


def test_a_figure_has_a_row_for_every_metric_that_was_evaluated():
    assert shown(make_run()) == ["test_accuracy"]
    assert shown(make_run(metrics=EVERYTHING)) == ["train_loss", "test_accuracy", "dissimilarity"]
    without = EVERYTHING | {"train_loss": (None, None), "dissimilarity": (None, None)}
    assert shown(make_run(metrics=without)) == ["test_accuracy"]


def test_mu_has_a_row_where_it_adapts():
    fixed = make_run(metrics={"mu": (0.0, 0.0)}, **FEDAVG)
    adaptive = make_run(metrics={"mu": (1.0, 1.1)}, adaptive_mu=True)
    assert shown(fixed, adaptive) == ["test_accuracy", "mu_t"]
    assert shown(fixed) == ["test_accuracy"]
