from imagenet_resnet.metrics import METRICS
from imagenet_resnet.replication import REPLICATION
from imagenet_runs import CENTRALISED, FEDAVG, make_run
from made_runs import make_results

from common.replication.comparison import by_metric, compare

MEASURED = {
    "test_top5_accuracy": (0.5, 0.75),
    "drift": (2.0, 1.0),
    "update_cosine": (0.1, 0.0),
    "mu": (0.0, 0.0),
}


def shown(*runs):
    panels = compare(REPLICATION, make_results(runs))
    return {
        metric.name: [arm for arms in by_panel.values() for arm in arms]
        for metric, by_panel in by_metric(panels, METRICS).items()
    }


def test_a_figure_has_a_row_for_every_metric_that_was_measured():
    run = make_run(metrics=MEASURED, **FEDAVG)
    assert list(shown(run)) == ["test_accuracy", "test_top5_accuracy", "drift", "update_cosine"]
    assert list(shown(make_run(**FEDAVG))) == ["test_accuracy"]


def test_one_client_has_no_cosine():
    alone = make_run(metrics=MEASURED | {"update_cosine": (None, None)}, **CENTRALISED)
    found = shown(make_run(metrics=MEASURED, **FEDAVG), alone)
    assert found["update_cosine"] == ["FedAvg"]
    assert found["drift"] == ["centralised", "FedAvg"]


def test_mu_has_a_row_where_it_varies():
    fedavg = make_run(metrics=MEASURED, **FEDAVG)
    linear = make_run(metrics=MEASURED | {"mu": (0.1, 0.0)}, mu=0.1, mu_schedule="linear")
    assert "mu_t" in shown(fedavg, linear)
    assert "mu_t" not in shown(fedavg)
