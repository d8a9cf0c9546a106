from pathlib import Path

import imagenet_resnet
import pytest
import tiny_imagenette
import torch
from imagenet_resnet import client_app, dataset
from imagenet_resnet.config import ImageNetConfig
from imagenet_resnet.server_app import app as server_app

from common.experiment.config import read_default_config
from common.experiment.run_experiment import run_experiment


@pytest.fixture(scope="session")
def imagenet_defaults():
    """The table of defaults of baselines/imagenet_resnet/pyproject.toml, nested."""
    return read_default_config(Path(imagenet_resnet.__file__).parents[1] / "pyproject.toml")


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """A data folder: Imagenette of 80 and 30 images, and the weights of a trunk."""
    folder = tmp_path_factory.mktemp("tiny_imagenette")
    tiny_imagenette.write(folder / "data")
    return folder


@pytest.fixture(scope="session")
def weights_file(tmp_path_factory):
    """Weights of a whole ResNet-18, with a head of 1000 classes."""
    file = tmp_path_factory.mktemp("weights") / "whole.pth"
    torch.save(dict(tiny_imagenette.state()), file)
    return str(file)


@pytest.fixture
def forget_images():
    """What this process loaded before or during the test is not kept."""
    caches = (dataset._load, client_app._resident_model)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


@pytest.fixture
def tiny_images(tiny_folder, monkeypatch, forget_images):
    """Make dataset="imagenette" the tiny one, decoded once a session."""
    monkeypatch.setenv("FLOWERBED_DATA", str(tiny_folder / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tiny_folder / "cache"))


@pytest.fixture
def make_config(imagenet_defaults, tiny_images):
    """Two rounds of three clients of the tiny Imagenette in this process, unless changed."""
    small = {
        "dataset": "imagenette",
        "image_size": 32,
        "weights": "none",
        "num_clients": 3,
        "clients_per_round": 3,
        "num_rounds": 2,
        "num_epochs": 1,
        "batch_size": 8,
        "dirichlet_alpha": 0.5,
        "min_partition_size": 8,
        "engine": "inline",
    }

    def make(**changes):
        return ImageNetConfig.parse(imagenet_defaults | small | changes)

    return make


@pytest.fixture(scope="session")
def head_only():
    """Keys of what trains fastest: the head on layer3."""
    return {"weights": tiny_imagenette.TRUNK, "num_stages": 3, "trainable": "head"}


@pytest.fixture(scope="session")
def run():
    """Runs an experiment as the command line does, perhaps with other clients."""

    def run(config, clients=None):
        run_experiment(config, server_app, clients or client_app.app)

    return run
