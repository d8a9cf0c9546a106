"""Fixtures that more than one folder of tests uses."""

import io
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fedprox import dataset, normalisation
from hypothesis import HealthCheck, settings
from PIL import Image

import common
from common.data import store
from common.experiment.config import read_default_config

# What tests of several folders use, and scripts beside them.
sys.path.insert(0, str(Path(__file__).parent / "support"))

# How long an example takes says more about the machine's other work than about the code.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")
# For tests of readers of foreign files, as their decorator: @settings.get_profile("fuzz")
settings.register_profile(
    "fuzz",
    settings.get_profile("any machine"),
    max_examples=int(os.environ.get("FLOWERBED_FUZZ_EXAMPLES", "300")),
)


@pytest.fixture
def experiment_values():
    """Every key that all baselines share, as Hydra hands it over."""
    return {
        "num_clients": 6,
        "clients_per_round": 3,
        "num_rounds": 3,
        "num_epochs": 2,
        "batch_size": 10,
        "learning_rate": 0.03,
        "precision": "float32",
        "seed": 7,
        "engine": "inline",
        "client_resources": {"num_cpus": 1.0, "num_gpus": 0.0},
        "ray_address": "",
        "server_device": "cpu",
        "client_timeout": float("inf"),
        "on_client_failure": "end",
        "checkpoint_every": 1,
        "output_dir": "",
    }


@pytest.fixture
def fedprox_defaults():
    """The table of defaults of baselines/fedprox/pyproject.toml, nested."""
    return read_default_config(Path(dataset.__file__).parents[1] / "pyproject.toml")


@pytest.fixture(scope="session")
def write_split():
    """Writes one split of an image data set as the Hugging Face hub stores MNIST."""

    def write(file, images, labels):
        encoded = []
        for i, image in enumerate(images):
            png = io.BytesIO()
            Image.fromarray(image).save(png, "PNG")
            encoded.append({"bytes": png.getvalue(), "path": f"{i}.png" if i % 2 else None})
        schema = pa.schema(
            {"image": pa.struct({"bytes": pa.binary(), "path": pa.string()}), "label": pa.int64()}
        )
        table = pa.table({"image": encoded, "label": list(labels)}, schema=schema)
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, file, row_group_size=64)

    return write


@pytest.fixture(scope="session")
def tiny_mnist_arrays():
    """200 and 30 random images, twenty and three of every class."""
    rng = np.random.default_rng(0)
    return SimpleNamespace(
        x_train=rng.integers(0, 256, (200, 28, 28), dtype=np.uint8),
        y_train=rng.permutation(np.repeat(np.arange(10), 20)),
        x_test=rng.integers(0, 256, (30, 28, 28), dtype=np.uint8),
        y_test=rng.permutation(np.repeat(np.arange(10), 3)),
    )


@pytest.fixture(scope="session")
def tiny_mnist_folder(tiny_mnist_arrays, write_split, tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for split in ("train", "test"):
        images = getattr(tiny_mnist_arrays, f"x_{split}")
        labels = getattr(tiny_mnist_arrays, f"y_{split}")
        write_split(folder / "mnist" / f"{split}.parquet", images, labels)
    return folder


@pytest.fixture
def forget_data():
    """What this process loaded before or during the test is not kept."""
    caches = (dataset._load, normalisation._per_pixel)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


@pytest.fixture
def tiny_mnist(tiny_mnist_folder, tiny_mnist_arrays, tmp_path, monkeypatch, forget_data):
    """Make dataset="mnist" the tiny one, decoded into a cache folder of this test's own."""
    monkeypatch.setenv("FLOWERBED_DATA", str(tiny_mnist_folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tiny_mnist_arrays


@pytest.fixture(scope="session")
def real_mnist_cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("real_mnist")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def real_mnist(real_mnist_cache, monkeypatch, forget_data):
    """Make dataset="mnist" the real one, decoded once a session; skip where it is not at hand."""
    beside_checkout = Path(common.__file__).parents[2] / "shared" / "data"
    root = Path(os.environ.get("FLOWERBED_DATA") or beside_checkout)
    if not all((root / "mnist" / f"{split}.parquet").is_file() for split in ("train", "test")):
        pytest.skip(f"MNIST is not at {root / 'mnist'}; point FLOWERBED_DATA at a folder with it")
    monkeypatch.setenv("FLOWERBED_DATA", str(root))
    monkeypatch.setenv("XDG_CACHE_HOME", str(real_mnist_cache))


@pytest.fixture
def no_hub(monkeypatch):
    """The hub is not reachable, and its client, which may be imported already, knows."""
    from huggingface_hub import constants

    monkeypatch.setattr(store, "_hub_is_reachable", lambda: False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # Restored afterwards, whatever the code sets.
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
