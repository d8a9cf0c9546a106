import math

import pytest
from pruning_afo.config import PruningConfig
from refusal import refusal


@pytest.fixture
def defaults(pruning_defaults):
    return pruning_defaults


def refused(values):
    return refusal(PruningConfig.parse, values)


def test_defaults_are_the_documents_protocol(defaults):
    """Without what it calls its method: that is an arm."""
    config = PruningConfig.parse(defaults)
    assert (config.dataset, config.augmentation, config.partition) == (
        "cifar10", "crop_flip", "iid"
    )  # fmt: skip
    assert (config.num_clients, config.clients_per_round) == (4, 4)
    assert (config.num_rounds, config.num_epochs, config.batches_per_epoch) == (50, 1, 0)
    assert (config.model, config.width, config.stem, config.norm) == (
        "resnet18", 64, "imagenet", "batch"
    )  # fmt: skip
    assert (config.batch_size, config.learning_rate) == (64, 0.1)
    assert config.learning_rate_steps == "0.4,0.6,0.8"
    assert (config.momentum, config.weight_decay) == (0.9, 0.0005)
    assert (config.sparsifier, config.quantiser, config.threshold) == ("none", "float32", 0.01)
    assert (config.pruning, config.server_optimizer, config.precision) == (
        "none", "none", "float32"
    )  # fmt: skip
    assert config.compresses is False


SCHEMES = "'iid', 'dirichlet_over_labels' or 'dirichlet_over_clients'"


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("dataset", "cifar100", "'cifar10'"),
        ("augmentation", "flip", "'none' or 'crop_flip'"),
        ("partition", "dirichlet", SCHEMES),
        ("dirichlet_alpha", 0.0, "greater than 0"),
        ("dirichlet_alpha", math.inf, "a finite number"),
        ("min_partition_size", -1, "greater than or equal to 0"),
        ("model", "resnet34", "'resnet18' or 'resnet50'"),
        ("width", 0, "greater than or equal to 1"),
        ("width", 64.0, "an integer"),
        ("stem", "mnist", "'imagenet' or 'cifar'"),
        ("norm", "layer", "'batch' or 'group'"),
        ("num_epochs", 0, "greater than or equal to 1"),
        ("batches_per_epoch", -1, "greater than or equal to 0"),
        ("momentum", 1.0, "less than 1"),
        ("weight_decay", -0.1, "greater than or equal to 0"),
        ("weight_decay", math.nan, "a finite number"),
        ("precision", "int8", "'float32', 'bfloat16' or 'float16'"),
        (
            "sparsifier",
            "topk",
            "'none', 'threshold', 'top_k', 'global_top_k' or 'random_k'",
        ),
        ("threshold", 0.0, "greater than 0"),
        ("density", 0.0, "greater than 0"),
        ("density", 1.01, "less than or equal to 1"),
        ("warmup_rounds", -1, "greater than or equal to 0"),
        ("quantiser", "int4", "'float32', 'float16', 'bfloat16', 'int8' or 'sign'"),
        ("int8_rounding", "up", "'nearest' or 'stochastic'"),
        ("int8_scale", "per_column", "'per_tensor' or 'per_row'"),
        ("error_feedback", 1, "a boolean"),
        ("residual_momentum", 1.0, "less than 1"),
        ("residual_momentum", -0.1, "greater than or equal to 0"),
        ("factor_masking", "yes", "a boolean"),
        ("clip_norm", 0.0, "greater than 0"),
        ("compress_local_gradients", None, "a boolean"),
        ("pruning", "random", "'none', 'one_shot', 'gradual', 'prunefl' or 'feddst'"),
        ("importance", "fisher", "'weight', 'gradient' or 'taylor'"),
        ("model_density", 0.0, "greater than 0"),
        ("model_density", 2.0, "less than or equal to 1"),
        ("pruning_start", -1, "greater than or equal to 0"),
        ("pruning_every", 0, "greater than or equal to 1"),
        (
            "server_optimizer",
            "adam",
            "'none', 'fedavgm', 'fedadagrad', 'fedadam' or 'fedyogi'",
        ),
        ("server_learning_rate", 0.0, "greater than 0"),
        ("beta_1", 1.0, "less than 1"),
        ("beta_2", -0.5, "greater than or equal to 0"),
        ("tau", 0.0, "greater than 0"),
        ("bias_correction", "no", "a boolean"),
        ("weighting", "n_k", "'examples' or 'uniform'"),
        ("measure_drift", 0, "a boolean"),
    ],
)
def test_bad_values_are_refused_in_one_sentence(defaults, key, value, allowed):
    message = refused(defaults | {key: value})
    assert message == f"{key}={value!r} is not allowed: it must be {allowed}."


@pytest.mark.parametrize(
    ("changes", "compresses"),
    [
        ({}, False),
        ({"sparsifier": "top_k"}, True),
        ({"quantiser": "bfloat16"}, True),
        ({"error_feedback": True}, True),
        ({"density": 0.5, "threshold": 0.5, "factor_masking": False}, False),
    ],
)
def test_clients_send_encoded_updates_if_anything_is_left_out_or_kept(
    defaults, changes, compresses
):
    assert PruningConfig.parse(defaults | changes).compresses is compresses


def test_the_steps_of_the_learning_rate_are_rising_shares_of_the_rounds(defaults):
    for steps in ("", "0.5", "0.1,0.2,0.9"):
        PruningConfig.parse(defaults | {"learning_rate_steps": steps})
    assert refused(defaults | {"learning_rate_steps": "0.6,0.4"}) == (
        "learning_rate_steps='0.6,0.4' is not allowed: it must be numbers between 0 and 1, "
        "rising, with commas between them, or empty."
    )


@pytest.mark.parametrize(
    ("key", "value", "off"), [("residual_momentum", 0.9, "0.0"), ("clip_norm", 2.5, "inf")]
)
def test_what_acts_on_a_residual_needs_one(defaults, key, value, off):
    PruningConfig.parse(defaults | {key: value, "error_feedback": True})
    assert refused(defaults | {key: value}) == (
        f"{key}={value} is not allowed with error_feedback=False: it must be {off}, for it acts "
        "on what error feedback keeps."
    )


def test_a_server_learning_rate_has_its_optimizer(defaults):
    rate = defaults | {"server_learning_rate": 0.5}
    PruningConfig.parse(rate | {"server_optimizer": "fedavgm"})
    assert refused(rate) == (
        "server_learning_rate=0.5 is not allowed with server_optimizer='none': it must be 1, for "
        "the mean is the next model."
    )


@pytest.mark.parametrize("sparsifier", ["none", "threshold"])
def test_a_warmup_is_of_a_density_and_within_the_run(defaults, sparsifier):
    top_k = defaults | {"sparsifier": "top_k", "num_rounds": 5}
    PruningConfig.parse(top_k | {"warmup_rounds": 4})
    assert refused(top_k | {"warmup_rounds": 5}) == (
        "warmup_rounds=5 is not allowed: it must be less than num_rounds, 5."
    )
    assert refused(top_k | {"warmup_rounds": 4, "sparsifier": sparsifier}) == (
        f"warmup_rounds=4 is not allowed with sparsifier={sparsifier!r}: it must be 0, for there "
        "is no density to warm up."
    )


@pytest.mark.parametrize("quantiser", ["float32", "float16", "bfloat16", "sign"])
@pytest.mark.parametrize(
    ("key", "value", "usual"),
    [("int8_rounding", "stochastic", "nearest"), ("int8_scale", "per_row", "per_tensor")],
)
def test_keys_of_int8_are_for_int8(defaults, quantiser, key, value, usual):
    PruningConfig.parse(defaults | {"quantiser": "int8", key: value})
    assert refused(defaults | {"quantiser": quantiser, key: value}) == (
        f"{key}={value!r} is not allowed with quantiser={quantiser!r}: it must be {usual!r}, for "
        "nothing has 8 bits."
    )


def test_local_gradients_are_compressed_by_something(defaults):
    keys = {"compress_local_gradients": True}
    for compression in ({"sparsifier": "threshold"}, {"quantiser": "int8"}):
        PruningConfig.parse(defaults | keys | compression)
    for nothing in ({}, {"error_feedback": True}):
        assert refused(defaults | keys | nothing) == (
            "compress_local_gradients=True is not allowed with sparsifier='none' and "
            "quantiser='float32': one of them must be another."
        )


PRUNINGS = ["one_shot", "gradual", "prunefl", "feddst"]


@pytest.mark.parametrize("pruning", PRUNINGS)
def test_of_a_pruned_model_the_mask_says_what_is_sent(defaults, pruning):
    """Quantisers and server optimisers go with it."""
    keys = {"pruning": pruning, "quantiser": "int8", "int8_rounding": "stochastic"}
    PruningConfig.parse(defaults | keys | {"server_optimizer": "fedadam"})
    for more, off in (
        ({"sparsifier": "top_k"}, "'none'"),
        ({"error_feedback": True}, "False"),
        ({"compress_local_gradients": True}, "False"),
        ({"int8_scale": "per_row"}, "'per_tensor'"),
    ):
        ((key, value),) = more.items()
        assert refused(defaults | keys | more) == (
            f"{key}={value!r} is not allowed with pruning={pruning!r}: it must be {off}, for the "
            "mask says what is sent, in one row."
        )


@pytest.mark.parametrize("pruning", PRUNINGS)
def test_pruning_starts_within_the_run(defaults, pruning):
    rounds = {"num_rounds": 7, "pruning_start": 7, "pruning_end": 7}
    PruningConfig.parse(defaults | rounds)
    PruningConfig.parse(defaults | rounds | {"pruning": pruning, "pruning_start": 6})
    assert refused(defaults | rounds | {"pruning": pruning}) == (
        f"pruning_start=7 is not allowed with pruning={pruning!r}: it must be less than "
        "num_rounds, 7."
    )


@pytest.mark.parametrize("pruning", PRUNINGS[1:])
@pytest.mark.parametrize("end", [5, 51])
def test_pruning_ends_after_it_starts_and_within_the_run(defaults, pruning, end):
    rounds = {"pruning_start": 6, "pruning_end": end}
    for other in ("none", "one_shot"):
        PruningConfig.parse(defaults | rounds | {"pruning": other})
    for allowed in (6, 50):
        PruningConfig.parse(defaults | rounds | {"pruning": pruning, "pruning_end": allowed})
    assert refused(defaults | rounds | {"pruning": pruning}) == (
        f"pruning_end={end} is not allowed with pruning={pruning!r}: it must be from "
        "pruning_start, 6, to num_rounds, 50."
    )


@pytest.mark.parametrize("pruning", PRUNINGS)
@pytest.mark.parametrize("importance", ["gradient", "taylor"])
def test_before_the_first_round_there_is_no_gradient(defaults, pruning, importance):
    """PruneFL and FedDST do not go by this importance."""
    at_start = defaults | {"pruning": pruning, "pruning_start": 0}
    PruningConfig.parse(at_start | {"importance": "weight"})
    if pruning in ("prunefl", "feddst"):
        PruningConfig.parse(at_start | {"importance": importance})
        return
    assert refused(at_start | {"importance": importance}) == (
        f"pruning_start=0 is not allowed with importance={importance!r}: it must be at least 1, "
        "for there is no gradient before the first round."
    )


@pytest.mark.parametrize("name", ["none", "fedavgm", "fedadagrad"])
def test_moments_that_do_not_decay_have_no_bias(defaults, name):
    keys = {"bias_correction": True}
    for decaying in ("fedadam", "fedyogi"):
        PruningConfig.parse(defaults | keys | {"server_optimizer": decaying})
    assert refused(defaults | keys | {"server_optimizer": name}) == (
        f"bias_correction=True is not allowed with server_optimizer={name!r}: that must be fedadam "
        "or fedyogi, whose moments decay."
    )
