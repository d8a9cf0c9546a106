import math
from pathlib import Path

import fedprox
import pytest
from fedprox.config import FedProxConfig
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UserInputError
from common.experiment.config import flat_keys, flatten, read_default_config

PYPROJECT = Path(fedprox.__file__).parents[1] / "pyproject.toml"


@pytest.fixture
def defaults(fedprox_defaults):
    return fedprox_defaults


def refusal(values):
    with pytest.raises(UserInputError) as caught:
        FedProxConfig.parse(values)
    return str(caught.value)


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


def test_schema_and_table_have_the_same_keys(defaults):
    assert sorted(flatten(defaults)) == sorted(flat_keys(FedProxConfig))


def test_schema_has_no_defaults_of_its_own():
    assert all(field.is_required() for field in FedProxConfig.model_fields.values())


def test_keys_that_others_rely_on_are_there(defaults):
    assert set(flatten(defaults)) >= {
        "algorithm", "dataset", "model", "partition", "num_clients", "clients_per_round",
        "num_rounds", "num_epochs", "batch_size", "learning_rate", "precision", "mu",
        "adaptive_mu", "stragglers_fraction", "seed", "engine", "client_resources.num_cpus",
        "client_resources.num_gpus", "ray_address", "server_device", "output_dir",
    }  # fmt: skip


def test_flower_can_carry_every_default(defaults):
    """It takes scalars only, and types that an override must keep."""
    for key, value in flatten(defaults).items():
        assert type(value) in (bool, int, float, str), key
    parsed = FedProxConfig.parse(defaults).to_run_config()
    assert parsed == flatten(defaults)
    assert {key: type(value) for key, value in parsed.items()} == {
        key: type(value) for key, value in flatten(defaults).items()
    }


def test_run_config_round_trip(defaults):
    config = FedProxConfig.parse(defaults | {"mu": 0.5, "seed": 3, "engine": "inline"})
    assert FedProxConfig.from_run_config(config.to_run_config()) == config


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
    message = refusal(defaults | {key: value})
    assert message == f"{key}={value!r} is not allowed: it must be {allowed}."


def test_a_fraction_that_is_no_number_is_refused(defaults):
    assert refusal(defaults | {"stragglers_fraction": math.nan}).startswith(
        "stragglers_fraction=nan is not allowed: it must be "
    )


def test_cnn_takes_images_only(defaults):
    FedProxConfig.parse(defaults | {"model": "cnn"})
    assert refusal(defaults | {"model": "cnn", "dataset": "synthetic"}) == (
        "model='cnn' is not allowed with dataset='synthetic': it must be logistic, for the CNN "
        "takes images."
    )


def test_bfloat16_is_for_networks(defaults):
    FedProxConfig.parse(defaults | {"model": "cnn", "precision": "bfloat16"})
    assert refusal(defaults | {"precision": "bfloat16"}) == (
        "precision='bfloat16' is not allowed with model='logistic': it must be float32, for so "
        "small a model would gain nothing."
    )


def test_adaptive_mu_needs_the_training_loss(defaults):
    FedProxConfig.parse(defaults | {"adaptive_mu": True})
    FedProxConfig.parse(defaults | {"evaluate_train_loss": False})
    assert refusal(defaults | {"adaptive_mu": True, "evaluate_train_loss": False}) == (
        "evaluate_train_loss=False is not allowed with adaptive_mu=True: it must be True, for "
        "adaptive mu follows the training loss."
    )


def test_fedavg_must_keep_somebody(defaults):
    """It drops the stragglers; round(10 (1 - 0.96)) is 0, round(10 (1 - 0.9)) is 1."""
    values = defaults | {"algorithm": "fedavg"}
    FedProxConfig.parse(values | {"stragglers_fraction": 0.9})
    for fraction in (0.96, 1.0):
        assert refusal(values | {"stragglers_fraction": fraction}) == (
            f"stragglers_fraction={fraction} is not allowed: algorithm=fedavg drops stragglers, "
            "and must be left at least 1 of clients_per_round=10."
        )
        FedProxConfig.parse(defaults | {"stragglers_fraction": fraction})


@given(
    key=st.sampled_from(sorted(flat_keys(FedProxConfig))),
    value=st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(-2, 2)
    | st.text("a1.", max_size=3),
)
def test_any_value_of_any_key_is_taken_or_refused_in_one_sentence(key, value):
    values = flatten(read_default_config(PYPROJECT)) | {key: value}
    try:
        config = FedProxConfig.parse(values)
    except UserInputError as error:
        message = str(error)
        assert " is not allowed" in message
        assert message.endswith(".")
        assert "\n" not in message
        assert key in message
    else:
        assert config.to_run_config() == values
        assert type(value) is not bool or type(config.to_run_config()[key]) is bool
