import math

import pytest
from distilbert_failures.config import DistilBertConfig
from refusal import refusal


@pytest.fixture
def defaults(distilbert_defaults):
    return distilbert_defaults


def refused(values):
    return refusal(DistilBertConfig.parse, values)


def test_defaults_are_the_earlier_studys_protocol(defaults):
    """Its FedProx arm at alpha = 0.1, on all test texts."""
    config = DistilBertConfig.parse(defaults)
    assert (config.algorithm, config.mu, config.proximal_term) == ("fedprox", 0.1, "in_loss")
    assert (config.dataset, config.num_train_texts, config.num_test_texts) == ("ag_news", 2000, 0)
    assert config.max_length == 64
    assert (config.partition, config.dirichlet_alpha) == ("dirichlet_over_clients", 0.1)
    assert config.min_partition_share == 0.1
    assert (config.encoder, config.trainable) == ("distilbert-base-uncased", "last_2")
    assert (config.num_clients, config.clients_per_round, config.num_rounds) == (5, 5, 5)
    assert (config.num_epochs, config.batch_size, config.precision) == (2, 32, "float32")
    assert (config.optimizer, config.learning_rate, config.weight_decay) == ("adamw", 2e-5, 0.01)
    assert (config.weighting, config.server_optimizer) == ("examples", "none")
    assert config.cache_frozen_layers is True


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("algorithm", "fedopt", "'fedprox', 'fedavg' or 'scaffold'"),
        ("dataset", "mnist", "'ag_news'"),
        ("num_train_texts", -1, "greater than or equal to 0"),
        ("num_test_texts", 1.5, "an integer"),
        ("max_length", 1, "greater than or equal to 2"),
        ("dirichlet_alpha", 0.0, "greater than 0"),
        ("dirichlet_alpha", math.inf, "a finite number"),
        ("min_partition_share", 1.1, "less than or equal to 1"),
        ("style", "tone", "'length', 'formality' or 'complexity'"),
        ("token_statistic", "length", "'frequency', 'truncation' or 'vocabulary'"),
        ("trainable", "last_3", "'last_2', 'all', 'head' or 'lora'"),
        ("cache_frozen_layers", 1, "a boolean"),
        ("lora_rank", 0, "greater than or equal to 1"),
        ("lora_alpha", 0.0, "greater than 0"),
        ("lora_dropout", 1.0, "less than 1"),
        ("lora_aggregation", "svd", "'exact', 'freeze_a' or 'naive'"),
        ("optimizer", "adam", "'sgd' or 'adamw'"),
        ("weight_decay", -0.1, "greater than or equal to 0"),
        ("momentum", 1.0, "less than 1"),
        ("mu", math.nan, "a finite number"),
        ("proximal_term", "none", "'in_loss' or 'decoupled'"),
        ("weighting", "n_k", "'examples' or 'uniform'"),
        (
            "server_optimizer",
            "adam",
            "'none', 'fedavgm', 'fedadagrad', 'fedadam' or 'fedyogi'",
        ),
        ("server_learning_rate", 0.0, "greater than 0"),
        ("evaluate_clients", 0, "a boolean"),
        ("measure_divergence", None, "a boolean"),
        ("partition_seed", -2, "greater than or equal to -1"),
        ("model_seed", 2**32, "less than 4294967296"),
        ("sampling_seed", 1.0, "an integer"),
    ],
)
def test_bad_values_are_refused_in_one_sentence(defaults, key, value, allowed):
    message = refused(defaults | {key: value})
    assert message == f"{key}={value!r} is not allowed: it must be {allowed}."


def test_an_encoder_has_a_name(defaults):
    assert refused(defaults | {"encoder": ""}).startswith("encoder='' is not allowed: ")


SCAFFOLD = {"algorithm": "scaffold", "optimizer": "sgd"}


def test_scaffold_corrects_gradients_that_are_steps(defaults):
    DistilBertConfig.parse(defaults | SCAFFOLD)
    DistilBertConfig.parse(defaults | {"optimizer": "sgd", "momentum": 0.9})
    assert refused(defaults | SCAFFOLD | {"optimizer": "adamw"}) == (
        "optimizer='adamw' is not allowed with algorithm='scaffold': it must be sgd, for SCAFFOLD "
        "corrects gradients, which AdamW would rescale."
    )
    assert refused(defaults | SCAFFOLD | {"momentum": 0.9}) == (
        "momentum=0.9 is not allowed with algorithm='scaffold': it must be 0, for its control "
        "variates are the mean of a client's steps over eta."
    )


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (
            {"server_optimizer": "fedadam"},
            "server_optimizer='fedadam' is not allowed with trainable='lora' and "
            "lora_aggregation='exact': it must be none, for the residuals are those of the mean.",
        ),
        (
            SCAFFOLD,
            "lora_aggregation='exact' is not allowed with algorithm='scaffold': it must be "
            "freeze_a or naive, for control variates know nothing of the residuals.",
        ),
    ],
)
def test_exact_averages_of_adapters_are_means_of_fedavg_and_fedprox(defaults, keys, said):
    lora = {"trainable": "lora", "lora_aggregation": "exact"}
    DistilBertConfig.parse(defaults | lora)
    DistilBertConfig.parse(defaults | keys | lora | {"trainable": "all"})
    DistilBertConfig.parse(defaults | keys | lora | {"lora_aggregation": "naive"})
    assert refused(defaults | keys | lora) == said


def test_a_seed_of_its_own_goes_before_the_runs(defaults):
    def seeds(**keys):
        config = DistilBertConfig.parse(defaults | keys)
        return config.seed_of_partition, config.seed_of_model, config.seed_of_sampling

    assert seeds(seed=7) == (7, 7, 7)
    assert seeds(seed=7, partition_seed=0) == (0, 7, 7)
    assert seeds(seed=7, model_seed=1) == (7, 1, 7)
    assert seeds(seed=7, sampling_seed=2) == (7, 7, 2)
