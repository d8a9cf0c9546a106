import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from pruning_afo.config import PruningConfig
from pruning_afo.dataset import load_dataset
from refusal import refusal

import common
from common.data import load_images
from common.images import CIFAR10_COLOURS, crop_and_flip, normalise
from common.partition import dirichlet_over_labels
from common.randomness import Purpose, generator

CPU = torch.device("cpu")
SCHEMES = ["iid", "dirichlet_over_labels", "dirichlet_over_clients"]


def rng(seed=0):
    return np.random.default_rng(seed)


def every(inputs):
    """Return all inputs."""
    return inputs.take(torch.arange(len(inputs)))


@pytest.fixture
def images(tiny_cifar10_at_hand):
    """The tiny CIFAR-10, decoded."""
    return load_images("cifar10", 32, "end", 0)


def test_a_client_has_its_own_examples(make_config, images):
    data = load_dataset(make_config(augmentation="none"))
    assert (data.num_classes, data.augments) == (10, False)
    met = []
    for client in range(3):
        x, y = data.client(client, CPU, rng())
        examples = data.partition.client(client)
        assert len(x) == len(y) == len(examples) == 40
        np.testing.assert_array_equal(y, images.y_train[examples])
        expected = normalise(torch.from_numpy(images.x_train[examples]), CIFAR10_COLOURS)
        assert torch.equal(every(x), expected)
        met += examples.tolist()
    assert sorted(met) == list(range(120))


@pytest.mark.parametrize("augmentation", ["none", "crop_flip"])
def test_the_test_set_is_whole_and_never_augmented(make_config, images, augmentation):
    x, y = load_dataset(make_config(augmentation=augmentation)).test_set(CPU)
    np.testing.assert_array_equal(y, images.y_test)
    assert Counter(y.tolist()) == dict.fromkeys(range(10), 3)
    expected = normalise(torch.from_numpy(images.x_test[np.arange(30)]), CIFAR10_COLOURS)
    assert torch.equal(every(x), expected)


def test_training_images_are_cropped_and_flipped_anew_each_time(make_config, images):
    data = load_dataset(make_config())
    assert data.augments
    x, _ = data.client(1, CPU, rng(5))
    own = torch.from_numpy(images.x_train[data.partition.client(1)])
    draws = rng(5)
    for _ in range(2):
        expected = normalise(crop_and_flip(own, draws), CIFAR10_COLOURS)
        assert torch.equal(every(x), expected)


@pytest.mark.parametrize("partition", SCHEMES)
def test_every_scheme_gives_each_example_once(make_config, partition):
    """100 clients have mixes of Reddi et al. 2021 here, of 1 or 2 images."""
    for num_clients in (3, 100):
        config = make_config(partition=partition, num_clients=num_clients, seed=2)
        data = load_dataset(config)
        assert len(data.partition.sizes) == num_clients
        assert sorted(data.partition.indices.tolist()) == list(range(120))
        if partition != "dirichlet_over_clients":
            assert np.ptp(data.partition.sizes) <= 1


@pytest.mark.parametrize("partition", SCHEMES)
def test_a_partition_is_a_function_of_the_seed(make_config, partition):
    first, again, other = (
        load_dataset(make_config(partition=partition, seed=seed)).partition.indices.tolist()
        for seed in (1, 1, 2)
    )
    assert first == again != other


def test_a_scheme_is_that_of_common_with_the_runs_seed(make_config, images):
    keys = {"partition": "dirichlet_over_labels", "dirichlet_alpha": 0.3}
    data = load_dataset(make_config(**keys, num_clients=7, seed=4))
    draws = generator(4, Purpose.PARTITION)
    expected = dirichlet_over_labels(images.y_train, 7, 0.3, draws)
    np.testing.assert_array_equal(data.partition.indices, expected.indices)
    np.testing.assert_array_equal(data.partition.offsets, expected.offsets)


@pytest.mark.parametrize("partition", SCHEMES[1:])
def test_alpha_is_how_alike_clients_are(make_config, images, partition):
    def largest_share(alpha):
        """Return the mean share of a client's commonest class."""
        data = load_dataset(
            make_config(partition=partition, dirichlet_alpha=alpha, min_partition_size=4)
        )
        counts = [
            np.bincount(images.y_train[data.partition.client(client)], minlength=10)
            for client in range(3)
        ]
        return np.mean([of_client.max() / of_client.sum() for of_client in counts])

    assert largest_share(1e5) < 0.15 < largest_share(0.01)


def test_the_smallest_client_has_what_is_asked_for(make_config):
    keys = {"partition": "dirichlet_over_clients", "dirichlet_alpha": 0.01, "num_clients": 8}
    smallest = [
        load_dataset(make_config(**keys, min_partition_size=size)).partition.sizes.min()
        for size in (0, 9)
    ]
    assert smallest[0] < 9 == smallest[1]


@pytest.mark.parametrize("partition", SCHEMES[1:])
def test_a_partition_that_is_not_possible_is_refused(make_config, partition):
    assert refusal(load_dataset, make_config(partition=partition, min_partition_size=41)) == (
        f"partition={partition!r} is not possible: min_partition_size=41 is not allowed: it must "
        "be at most 40, 120 examples / 3 clients."
    )


@pytest.mark.parametrize("partition", SCHEMES)
def test_more_clients_than_examples_are_refused(make_config, partition):
    config = make_config(partition=partition, num_clients=121)
    assert "num_clients=121 is not allowed" in refusal(load_dataset, config)


def test_runs_that_differ_in_the_method_only_share_a_data_set(make_config):
    first = load_dataset(make_config())
    for same in (
        {"sparsifier": "top_k", "quantiser": "int8", "error_feedback": True},
        {"server_optimizer": "fedadam", "learning_rate": 0.5, "num_rounds": 9},
        {"width": 3, "norm": "group", "stem": "cifar", "pruning": "one_shot"},
        {"output_dir": "elsewhere"},
    ):
        assert load_dataset(make_config(**same)) is first, same


@pytest.mark.parametrize(
    "other",
    [{"seed": 1}, {"partition": "dirichlet_over_labels"}, {"num_clients": 4}],
    ids=str,
)
def test_others_have_data_of_their_own(make_config, other):
    first = load_dataset(make_config()).partition.indices.tolist()
    assert load_dataset(make_config(**other)).partition.indices.tolist() != first


@pytest.fixture
def real_cifar10(tmp_path, monkeypatch, forget_cifar10):
    """Make dataset="cifar10" the real one; skip where it is not at hand."""
    beside_checkout = Path(common.__file__).parents[2] / "shared" / "data"
    root = Path(os.environ.get("FLOWERBED_DATA") or beside_checkout)
    if not all((root / "cifar10" / f"{split}.parquet").is_file() for split in ("train", "test")):
        folder = root / "cifar10"
        pytest.skip(f"CIFAR-10 is not at {folder}; point FLOWERBED_DATA at a folder with it")
    monkeypatch.setenv("FLOWERBED_DATA", str(root))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield
    shutil.rmtree(tmp_path / "cache")


@pytest.mark.slow
def test_the_real_one(real_cifar10, pruning_defaults):
    """The document's 4 IID clients, and the 500 of Reddi et al. 2021 of 100 images each."""
    config = PruningConfig.parse(pruning_defaults)
    data = load_dataset(config)
    assert data.partition.sizes.tolist() == [12_500] * 4
    assert Counter(data.images.y_train.tolist()) == dict.fromkeys(range(10), 5000)
    assert Counter(data.images.y_test.tolist()) == dict.fromkeys(range(10), 1000)

    pixels = data.images.x_train[np.arange(50_000)]
    mean, std = CIFAR10_COLOURS
    np.testing.assert_allclose(pixels.mean(axis=(0, 1, 2)) / 255, mean, atol=5e-5)
    np.testing.assert_allclose(pixels.std(axis=(0, 1, 2)) / 255, std, atol=1e-4)

    many = config.model_copy(update={"partition": "dirichlet_over_labels", "num_clients": 500})
    data = load_dataset(many)
    assert data.partition.sizes.tolist() == [100] * 500
    labels = data.images.y_train
    kinds = [len({*labels[data.partition.client(client)]}) for client in range(500)]
    assert 1 < np.mean(kinds) < 2  # At alpha = 0.1 most clients have a single class of the ten.
