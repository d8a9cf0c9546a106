import math

import pytest
from fedprox.config import FedProxConfig
from refusal import refusal

from common.experiment.config import flatten


@pytest.fixture
def defaults(fedprox_defaults):
    return fedprox_defaults


def refused(values):
    return refusal(FedProxConfig.parse, values)


def test_defaults_are_the_papers_mnist_protocol(defaults):
    config = FedProxConfig.parse(defaults)
    assert config.algorithm == "fedprox"
    assert config.dataset == "mnist"
    assert config.model == "logistic"
    assert config.partition == "power_law"
    assert (config.num_clients, config.clients_per_round, config.num_rounds) == (1000, 10, 100)
    assert (config.num_epochs, config.batch_size, config.learning_rate) == (20, 10, 0.03)
    assert (config.mu, config.adaptive_mu) == (1.0, False)
    assert config.stragglers_fraction == 0.9


def test_keys_that_others_rely_on_are_there(defaults):
    assert set(flatten(defaults)) >= {
        "algorithm", "dataset", "model", "partition", "num_clients", "clients_per_round",
        "num_rounds", "num_epochs", "batch_size", "learning_rate", "precision", "mu",
        "adaptive_mu", "stragglers_fraction", "seed", "engine", "client_resources.num_cpus",
        "client_resources.num_gpus", "ray_address", "server_device", "output_dir",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("algorithm", "fedsgd", "'fedprox' or 'fedavg'"),
        ("dataset", "cifar10", "'mnist', 'femnist', 'synthetic' or 'synthetic_iid'"),
        ("normalisation", "none", "'per_pixel' or 'global'"),
        ("model", "mlp", "'logistic' or 'cnn'"),
        (
            "partition",
            "dirichlet",
            "'power_law', 'iid', 'shards', 'dirichlet_over_clients', 'dirichlet_over_labels' or "
            "'quantity_skew'",
        ),
        ("dirichlet_alpha", 0.0, "greater than 0"),
        ("min_partition_size", -1, "greater than or equal to 0"),
        ("quantity_sigma", 0.0, "greater than 0"),
        ("synthetic_alpha", -0.5, "greater than or equal to 0"),
        ("synthetic_beta", math.inf, "a finite number"),
        ("mu", -1, "greater than or equal to 0"),
        ("mu", "one", "a number"),
        ("mu", math.nan, "a finite number"),
        ("mu", True, "a number"),
        ("adaptive_mu", 1, "a boolean"),
        ("adaptive_mu", "true", "a boolean"),
        ("stragglers_fraction", 1.5, "less than or equal to 1"),
        ("stragglers_fraction", -0.1, "greater than or equal to 0"),
        ("stragglers_fraction", "half", "a number"),
    ],
)
def test_bad_values_are_refused_in_one_sentence(defaults, key, value, allowed):
    message = refused(defaults | {key: value})
    assert message == f"{key}={value!r} is not allowed: it must be {allowed}."


def test_a_fraction_that_is_no_number_is_refused(defaults):
    assert refused(defaults | {"stragglers_fraction": math.nan}).startswith(
        "stragglers_fraction=nan is not allowed: it must be "
    )


def test_cnn_takes_images_only(defaults):
    FedProxConfig.parse(defaults | {"model": "cnn"})
    assert refused(defaults | {"model": "cnn", "dataset": "synthetic"}) == (
        "model='cnn' is not allowed with dataset='synthetic': it must be logistic, for the CNN "
        "takes images."
    )


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_is_for_networks(defaults, precision):
    FedProxConfig.parse(defaults | {"model": "cnn", "precision": precision})
    assert refused(defaults | {"precision": precision}) == (
        f"precision={precision!r} is not allowed with model='logistic': it must be float32, for so "
        "small a model would gain nothing."
    )


def test_adaptive_mu_needs_the_training_loss(defaults):
    FedProxConfig.parse(defaults | {"adaptive_mu": True})
    FedProxConfig.parse(defaults | {"evaluate_train_loss": False})
    assert refused(defaults | {"adaptive_mu": True, "evaluate_train_loss": False}) == (
        "evaluate_train_loss=False is not allowed with adaptive_mu=True: it must be True, for "
        "adaptive mu follows the training loss."
    )


def test_fedavg_must_keep_somebody(defaults):
    """It drops the stragglers; round(10 (1 - 0.96)) is 0, round(10 (1 - 0.9)) is 1."""
    values = defaults | {"algorithm": "fedavg"}
    FedProxConfig.parse(values | {"stragglers_fraction": 0.9})
    for fraction in (0.96, 1.0):
        assert refused(values | {"stragglers_fraction": fraction}) == (
            f"stragglers_fraction={fraction} is not allowed: algorithm=fedavg drops stragglers, "
            "and must be left at least 1 of clients_per_round=10."
        )
        FedProxConfig.parse(defaults | {"stragglers_fraction": fraction})
