import math

import pytest
from imagenet_resnet.config import ImageNetConfig
from refusal import refusal


@pytest.fixture
def defaults(imagenet_defaults):
    return imagenet_defaults


def refused(values):
    return refusal(ImageNetConfig.parse, values)


def test_defaults_are_the_earlier_benchmarks_protocol(defaults):
    """Its FedProx arm at alpha = 0.1, which never ran FedProx."""
    config = ImageNetConfig.parse(defaults)
    assert (config.algorithm, config.mu, config.mu_schedule) == ("fedprox", 0.01, "constant")
    assert (config.dataset, config.image_size, config.augmentation) == ("imagenet_val", 224, "none")
    assert (config.partition, config.dirichlet_alpha) == ("dirichlet_over_clients", 0.1)
    assert config.min_partition_size == 0
    assert (config.num_clients, config.clients_per_round, config.num_rounds) == (10, 10, 20)
    assert (config.num_epochs, config.batch_size) == (5, 32)
    assert (config.learning_rate, config.momentum, config.precision) == (0.01, 0.9, "float32")
    assert (config.model, config.weights, config.head) == ("resnet18", "IMAGENET1K_V1", "fresh")
    assert (config.trainable, config.num_stages, config.norm) == ("all", 4, "batch")
    assert (config.weighting, config.buffers) == ("uniform", "average")
    assert (config.server_optimizer, config.on_corrupt_image) == ("none", "end")
    assert config.adaptive_mu is False


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("algorithm", "scaffold", "'fedprox' or 'fedavg'"),
        (
            "dataset",
            "mnist",
            "'imagenet_val', 'imagenet', 'imagenette', 'tiny_imagenet' or 'cifar10'",
        ),
        ("image_size", 31, "greater than or equal to 32"),
        ("image_size", 1025, "less than or equal to 1024"),
        ("image_size", 64.0, "an integer"),
        ("on_corrupt_image", "ignore", "'end' or 'skip'"),
        ("augmentation", "flip", "'none' or 'crop_flip'"),
        (
            "partition",
            "dirichlet",
            "'dirichlet_over_clients', 'dirichlet_over_labels' or 'iid'",
        ),
        ("dirichlet_alpha", 0.0, "greater than 0"),
        ("min_partition_size", -1, "greater than or equal to 0"),
        ("model", "resnet34", "'resnet18' or 'resnet50'"),
        ("num_stages", 2, "3 or 4"),
        ("head", "new", "'fresh' or 'keep'"),
        ("norm", "layer", "'batch', 'group' or 'frozen_batch'"),
        ("trainable", "layer3", "'all', 'layer4' or 'head'"),
        ("num_epochs", -1, "greater than or equal to 0"),
        ("momentum", 1.0, "less than 1"),
        ("momentum", -0.1, "greater than or equal to 0"),
        ("mu", -1, "greater than or equal to 0"),
        ("mu", math.nan, "a finite number"),
        ("mu_schedule", "step", "'constant', 'linear' or 'cosine'"),
        ("mu_final", -0.1, "greater than or equal to 0"),
        ("adaptive_mu", 1, "a boolean"),
        ("weighting", "n_k", "'examples' or 'uniform'"),
        ("buffers", "local", "'average' or 'keep'"),
        (
            "server_optimizer",
            "adam",
            "'none', 'fedavgm', 'fedadagrad', 'fedadam' or 'fedyogi'",
        ),
        ("server_learning_rate", 0.0, "greater than 0"),
        ("beta_1", 1.0, "less than 1"),
        ("beta_2", -0.5, "greater than or equal to 0"),
        ("tau", 0.0, "greater than 0"),
        ("evaluate_train_loss", "yes", "a boolean"),
        ("evaluate_clients", 0, "a boolean"),
        ("measure_drift", None, "a boolean"),
    ],
)
def test_bad_values_are_refused_in_one_sentence(defaults, key, value, allowed):
    message = refused(defaults | {key: value})
    assert message == f"{key}={value!r} is not allowed: it must be {allowed}."


def test_weights_have_a_name(defaults):
    assert refused(defaults | {"weights": ""}).startswith("weights='' is not allowed: ")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("head", "keep"),
        ("norm", "frozen_batch"),
        ("buffers", "keep"),
        ("trainable", "layer4"),
        ("trainable", "head"),
    ],
)
def test_what_is_kept_of_the_weights_must_come_from_some(defaults, key, value):
    ImageNetConfig.parse(defaults | {key: value})
    ImageNetConfig.parse(defaults | {"weights": "none"})
    assert refused(defaults | {"weights": "none", key: value}) == (
        f"weights='none' is not allowed with {key}={value!r}: it must be a name of torchvision's "
        "or a file, for something of the weights is kept."
    )


@pytest.mark.parametrize(
    ("dataset", "num_stages"), [("cifar10", 4), ("tiny_imagenet", 4), ("imagenette", 3)]
)
def test_the_weights_head_is_for_imagenets_classes(defaults, dataset, num_stages):
    for of_imagenet in ("imagenet_val", "imagenet", "imagenette"):
        ImageNetConfig.parse(defaults | {"head": "keep", "dataset": of_imagenet})
    keys = {"head": "keep", "dataset": dataset, "num_stages": num_stages}
    assert refused(defaults | keys) == (
        f"head='keep' is not allowed with dataset={dataset!r} and num_stages={num_stages}: it must "
        "be fresh, for the weights' head tells ImageNet's classes from the output of layer4."
    )


def test_layer4_can_be_trained_where_there_is_one(defaults):
    ImageNetConfig.parse(defaults | {"trainable": "head", "num_stages": 3})
    assert refused(defaults | {"trainable": "layer4", "num_stages": 3}) == (
        "trainable='layer4' is not allowed with num_stages=3: it must be all or head, for there is "
        "no layer4."
    )


@pytest.mark.parametrize("trainable", ["layer4", "head"])
def test_frozen_layers_see_an_image_once(defaults, trainable):
    ImageNetConfig.parse(defaults | {"augmentation": "crop_flip"})
    assert refused(defaults | {"augmentation": "crop_flip", "trainable": trainable}) == (
        f"augmentation='crop_flip' is not allowed with trainable={trainable!r}: it must be none, "
        "for the frozen layers see each image once."
    )


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_mu_follows_one_rule(defaults, schedule):
    keys = {"mu_schedule": schedule, "evaluate_train_loss": True}
    ImageNetConfig.parse(defaults | keys)
    assert refused(defaults | keys | {"adaptive_mu": True}) == (
        f"mu_schedule={schedule!r} is not allowed with adaptive_mu=True: it must be constant, for "
        "adaptive mu follows the training loss."
    )


def test_adaptive_mu_needs_the_training_loss(defaults):
    ImageNetConfig.parse(defaults | {"adaptive_mu": True, "evaluate_train_loss": True})
    assert refused(defaults | {"adaptive_mu": True}) == (
        "evaluate_train_loss=False is not allowed with adaptive_mu=True: it must be True, for "
        "adaptive mu follows the training loss."
    )
