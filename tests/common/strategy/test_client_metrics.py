from common.strategy.client_metrics import ClientMetrics


def test_mean_and_worst_over_clients():
    metrics = ClientMetrics(["test-accuracy", "gain"])
    for accuracy, gain in ((0.5, -1.0), (0.25, 3.0), (0.75, 1.0)):
        metrics.add({"test-accuracy": accuracy, "gain": gain, "other": 9.0})
    assert metrics.result() == {
        "client_test_accuracy": 0.5,
        "worst_client_test_accuracy": 0.25,
        "client_gain": 1.0,
        "worst_client_gain": -1.0,
    }


def test_the_worst_loss_is_the_largest():
    """So is the worst number of steps that were skipped."""
    metrics = ClientMetrics(["train-loss", "loss-margin", "skipped-steps"])
    for loss, skipped in ((0.5, 0), (2.0, 1), (1.25, 2)):
        metrics.add({"train-loss": loss, "loss-margin": loss, "skipped-steps": skipped})
    assert metrics.result() == {
        "client_train_loss": 1.25,
        "worst_client_train_loss": 2.0,
        "client_loss_margin": 1.25,
        "worst_client_loss_margin": 0.5,
        "client_skipped_steps": 1.0,
        "worst_client_skipped_steps": 2,
    }


def test_without_clients_there_is_none():
    assert ClientMetrics(["x"]).result() == {"client_x": None, "worst_client_x": None}


def test_without_names_there_is_nothing():
    metrics = ClientMetrics(())
    metrics.add({})
    assert metrics.result() == {}
