from itertools import chain

import numpy as np
import pytest
import torch
from imagenet_resnet.features import _CHUNK, trunk_features
from torch import nn

from common.client.local_sgd import train_locally
from common.client.work import LocalWork
from common.inputs import InMemory, OnDisk


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    """Features go in a folder of this test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def images():
    return torch.randn(2 * _CHUNK + 7, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def make_trunk():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        trunk = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        trunk[1].running_mean.normal_()
    return trunk.eval().requires_grad_(False)


def test_features_are_the_trunks_output(images):
    found = trunk_features(make_trunk, InMemory(images), (4, 6, 6), "key")
    assert isinstance(found, np.memmap)
    assert not found.flags.writeable
    assert (found.dtype, found.shape) == (np.float32, (len(images), 4, 6, 6))
    np.testing.assert_allclose(found, make_trunk()(images), rtol=1e-5, atol=1e-6)


def test_images_are_read_a_chunk_at_a_time(images):
    asked = []

    class Spy(InMemory):
        def take(self, examples):
            asked.append(examples.tolist())
            return super().take(examples)

    trunk_features(make_trunk, Spy(images), (4, 6, 6), "key")
    assert sorted(map(len, asked)) == [7, _CHUNK, _CHUNK]
    assert sorted(chain(*asked)) == list(range(len(images)))


def test_one_image_has_features(images):
    found = trunk_features(make_trunk, InMemory(images[:1]), (4, 6, 6), "key")
    np.testing.assert_allclose(found, make_trunk()(images[:1]), rtol=1e-5, atol=1e-6)


def test_training_on_features_is_training_through_the_frozen_layers(images):
    """The tail ends with the same weights to a millionth."""

    def make_tail():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            return nn.Sequential(
                nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(96, 3)
            )

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.trunk, self.tail = make_trunk(), make_tail()

        def train(self, mode=True):
            super().train(mode)
            self.trunk.eval()
            return self

        def forward(self, x):
            return self.tail(self.trunk(x))

    y = np.random.default_rng(0).integers(0, 3, len(images))
    work = LocalWork(2, 16, 0.05, mu=0.5, momentum=0.9)
    network, tail = Network(), make_tail()
    train_locally(network, InMemory(images), y, work, np.random.default_rng(3))
    features = trunk_features(make_trunk, InMemory(images), (4, 6, 6), "key")
    inputs = OnDisk(features, np.arange(len(images)), torch.device("cpu"), nn.Identity())
    train_locally(tail, inputs, y, work, np.random.default_rng(3))
    for key, expected in network.tail.state_dict().items():
        torch.testing.assert_close(tail.state_dict()[key], expected, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(tail[0].weight, make_tail()[0].weight, atol=1e-3)
