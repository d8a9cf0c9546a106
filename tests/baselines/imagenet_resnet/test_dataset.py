from collections import Counter

import numpy as np
import pytest
import tiny_imagenette
import torch
from imagenet_resnet import dataset
from imagenet_resnet.dataset import load_dataset
from imagenet_resnet.model import make_model
from PIL import Image
from refusal import refusal

from common.data import load_images
from common.images import IMAGENET_COLOURS, normalise
from common.partition import dirichlet_over_clients
from common.randomness import Purpose, generator

CPU = torch.device("cpu")


def rng(seed=0):
    return np.random.default_rng(seed)


def every(inputs):
    """Return all inputs."""
    return inputs.take(torch.arange(len(inputs)))


@pytest.fixture
def images(make_config):
    """The tiny Imagenette, decoded."""
    return load_images("imagenette", 32, "end", 0)


def test_a_client_has_its_own_examples(make_config, images):
    data = load_dataset(make_config())
    assert (data.num_classes, data.has_features, data.augments) == (10, False, False)
    met = []
    for client in range(3):
        x, y = data.client(client, CPU, rng())
        examples = data.partition.client(client)
        assert len(x) == len(y) == len(examples) >= 8
        np.testing.assert_array_equal(y, images.y_train[examples])
        expected = normalise(torch.from_numpy(images.x_train[examples]), IMAGENET_COLOURS)
        assert torch.equal(every(x), expected)
        met += examples.tolist()
    assert sorted(met) == list(range(80))


def test_all_clients_together_have_every_training_example(make_config, images):
    x, y = load_dataset(make_config()).train_set(CPU)
    np.testing.assert_array_equal(y, images.y_train)
    assert torch.equal(
        every(x), normalise(torch.from_numpy(images.x_train[np.arange(80)]), IMAGENET_COLOURS)
    )


def test_the_test_set_is_that_of_the_data_set(make_config, images):
    x, y = load_dataset(make_config()).test_set(CPU)
    np.testing.assert_array_equal(y, images.y_test)
    assert Counter(y.tolist()) == dict.fromkeys(range(10), 3)
    assert torch.equal(
        every(x), normalise(torch.from_numpy(images.x_test[np.arange(30)]), IMAGENET_COLOURS)
    )


def test_augmentation_is_for_training_only(make_config):
    plain = load_dataset(make_config())
    expected = {name: every(getattr(plain, name)(CPU)[0]) for name in ("train_set", "test_set")}
    own = every(plain.client(0, CPU, rng())[0])
    data = load_dataset(make_config(augmentation="crop_flip"))
    for name, x in expected.items():
        assert torch.equal(every(getattr(data, name)(CPU)[0]), x)
    augmented, again, other = (every(data.client(0, CPU, rng(seed))[0]) for seed in (1, 1, 2))
    assert torch.equal(augmented, again)
    assert not torch.equal(augmented, other)
    assert not torch.equal(augmented, own)
    # Anew each time that an image is seen.
    x, _ = data.client(0, CPU, rng())
    assert not torch.equal(every(x), every(x))


@pytest.mark.parametrize("partition", ["iid", "dirichlet_over_clients", "dirichlet_over_labels"])
def test_every_scheme_gives_each_example_once(make_config, partition):
    sizes = load_dataset(make_config(partition=partition, seed=2)).partition.sizes
    assert sizes.sum() == 80
    assert (np.ptp(sizes) <= 1) == (partition != "dirichlet_over_clients")
    again, other = (
        load_dataset(make_config(partition=partition, seed=seed)).partition.indices.tolist()
        for seed in (0, 1)
    )
    assert again != other


def test_the_default_scheme_is_that_of_common_with_the_runs_seed(make_config, images):
    data = load_dataset(make_config(seed=4, dirichlet_alpha=0.3, min_partition_size=5))
    expected = dirichlet_over_clients(
        images.y_train, 3, 0.3, generator(4, Purpose.PARTITION), min_partition_size=5
    )
    np.testing.assert_array_equal(data.partition.indices, expected.indices)
    np.testing.assert_array_equal(data.partition.offsets, expected.offsets)


def test_alpha_is_how_alike_clients_are(make_config, images):
    def largest_share(alpha):
        """Return the mean share of a client's commonest class."""
        config = make_config(dirichlet_alpha=alpha, min_partition_size=4)
        data = load_dataset(config)
        counts = [
            np.bincount(images.y_train[data.partition.client(client)], minlength=10)
            for client in range(3)
        ]
        return np.mean([of_client.max() / of_client.sum() for of_client in counts])

    assert largest_share(1e5) < 0.13
    assert largest_share(0.01) > 0.2


@pytest.mark.parametrize("partition", ["dirichlet_over_clients", "dirichlet_over_labels"])
def test_a_partition_that_is_not_possible_is_refused(make_config, partition):
    assert refusal(load_dataset, make_config(partition=partition, min_partition_size=27)) == (
        f"partition={partition!r} is not possible: min_partition_size=27 is not allowed: it must "
        "be at most 26, 80 examples / 3 clients."
    )
    assert "num_clients=81 is not allowed" in refusal(
        load_dataset, make_config(partition=partition, num_clients=81, min_partition_size=0)
    )


@pytest.mark.parametrize("seed", range(5))
def test_at_alpha_of_100_clients_of_imagenet_are_nearly_of_one_size(seed):
    """The earlier benchmark's rounding gave one client 9,006 images and the others about 4,000."""
    labels = np.repeat(np.arange(1000), 45)
    sizes = dirichlet_over_clients(labels, 10, 100.0, generator(seed, Purpose.PARTITION)).sizes
    assert sizes.sum() == 45_000
    assert 4_300 < sizes.min() <= sizes.max() < 4_700


def test_runs_that_differ_in_the_method_only_share_a_data_set(make_config, head_only):
    first = load_dataset(make_config(**head_only))
    for same in (
        {"mu": 0.5},
        {"algorithm": "fedavg"},
        {"mu": 0.0, "adaptive_mu": True, "evaluate_train_loss": True},
        {"mu_schedule": "cosine", "mu_final": 0.1},
        {"num_rounds": 9, "num_epochs": 3, "learning_rate": 0.5},
        {"evaluate_clients": True},
        {"weighting": "examples", "server_optimizer": "fedadam"},
        {"output_dir": "elsewhere"},
    ):
        assert load_dataset(make_config(**head_only, **same)) is first, same


@pytest.mark.parametrize(
    "other",
    [{"seed": 1}, {"dirichlet_alpha": 2.0}, {"partition": "iid"}, {"num_clients": 4}],
    ids=str,
)
def test_others_have_data_of_their_own(make_config, other):
    first = load_dataset(make_config())
    data = load_dataset(make_config(**other))
    assert data is not first
    assert data.partition.indices.tolist() != first.partition.indices.tolist()


def test_features_take_the_place_of_images(make_config, head_only, images):
    config = make_config(**head_only)
    data = load_dataset(config)
    assert data.has_features
    trunk = make_model(config, 10).trunk
    for x, y, stored, labels in (
        (*data.train_set(CPU), images.x_train, images.y_train),
        (*data.test_set(CPU), images.x_test, images.y_test),
    ):
        np.testing.assert_array_equal(y, labels)
        expected = trunk(normalise(torch.from_numpy(stored[np.arange(len(y))]), IMAGENET_COLOURS))
        torch.testing.assert_close(every(x), expected, rtol=1e-5, atol=1e-6)
    x, y = data.client(1, CPU, rng())
    examples = data.partition.client(1)
    np.testing.assert_array_equal(y, images.y_train[examples])
    assert torch.equal(every(x), every(data.train_set(CPU)[0])[examples])


def test_features_are_computed_once_for_weights_and_cut(
    make_config, head_only, monkeypatch, tmp_path
):
    made = []

    def counted(config, num_classes):
        made.append((config.weights, config.trainable))
        return make_model(config, num_classes)

    monkeypatch.setattr(dataset, "make_model", counted)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def features(**changes):
        dataset._load.cache_clear()
        found = load_dataset(make_config(**head_only | changes)).images.x_train
        return found[np.arange(80)]

    first = features()
    assert len(made) == 2  # Of the training and of the test images.
    for same in ({"seed": 1}, {"norm": "group"}, {"dirichlet_alpha": 9.0}):
        np.testing.assert_array_equal(features(**same), first)
    assert len(made) == 2

    # The same content elsewhere is the same; another is not, even under a name met before.
    state = {key: w.clone() for key, w in tiny_imagenette.state().items()}
    trunk = {key: w for key, w in state.items() if not key.startswith(("layer4.", "fc."))}
    file = tmp_path / "w.pth"
    torch.save(trunk, file)
    other = features(weights=str(file))
    assert len(made) == 4
    np.testing.assert_array_equal(other, first)
    trunk["bn1.bias"] += 0.5
    torch.save(trunk, file)
    assert not np.allclose(features(weights=str(file)), first, atol=1e-3)
    assert len(made) == 6


@pytest.fixture
def tiny_imagenet_folder(tmp_path, monkeypatch, forget_images):
    """The validation images of an ImageNet of 2 classes, 30 images each, as torchvision has it."""
    for wnid in ("n01440764", "n02102040"):
        folder = tmp_path / "data" / "imagenet" / "val" / wnid
        folder.mkdir(parents=True)
        for number in range(30):
            image = Image.fromarray(rng(number).integers(0, 256, (40, 50, 3), dtype=np.uint8))
            image.save(folder / f"ILSVRC2012_val_{number:08d}.JPEG")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_the_validation_images_of_imagenet_are_split(
    make_config, weights_file, tiny_imagenet_folder, tmp_path, monkeypatch
):
    """A tenth of each class tests; with a frozen trunk both splits are features of one array."""
    monkeypatch.setenv("FLOWERBED_DATA", str(tmp_path / "data"))
    keys = {"dataset": "imagenet_val", "min_partition_size": 2}
    data = load_dataset(make_config(**keys))
    assert data.num_classes == 2
    x_test, y_test = data.test_set(CPU)
    assert Counter(y_test.tolist()) == {0: 3, 1: 3}
    assert data.partition.sizes.sum() == 54
    pixels = every(x_test)
    assert pixels.shape == (6, 3, 32, 32)

    config = make_config(**keys, weights=weights_file, trainable="head")
    features = load_dataset(config)
    trunk = make_model(config, 2).trunk
    torch.testing.assert_close(
        every(features.test_set(CPU)[0]), trunk(pixels), rtol=1e-4, atol=1e-5
    )
    for client in range(3):
        x, y = data.client(client, CPU, rng())
        of_features, labels = features.client(client, CPU, rng())
        np.testing.assert_array_equal(labels, y)
        torch.testing.assert_close(every(of_features), trunk(every(x)), rtol=1e-4, atol=1e-5)
