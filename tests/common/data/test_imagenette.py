import json
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import common
from common.data import load_images
from common.data.imagenette import IMAGENET_CLASSES, IMAGENETTE, WNIDS

NAMES = [
    *("tench", "English springer", "cassette player", "chain saw", "church"),
    *("French horn", "garbage truck", "gas pump", "golf ball", "parachute"),
]


def test_wordnet_ids_and_classes_of_imagenet_are_in_the_order_of_labels():
    """A class of ImageNet-1k is the position of its WordNet id in sorted order, too."""
    assert list(WNIDS) == sorted(WNIDS)
    assert list(IMAGENET_CLASSES) == sorted(IMAGENET_CLASSES)
    assert len(WNIDS) == len(IMAGENET_CLASSES) == IMAGENETTE.num_classes


@pytest.fixture
def real_imagenette(monkeypatch):
    """The folder of the real one; skip where it is not at hand."""
    beside_checkout = Path(common.__file__).parents[2] / "shared" / "data"
    root = Path(os.environ.get("FLOWERBED_DATA") or beside_checkout)
    folder = root / "imagenette"
    if not all((folder / f"{split}.parquet").is_file() for split in ("train", "validation")):
        pytest.skip(f"Imagenette is not at {folder}; point FLOWERBED_DATA at a folder with it")
    monkeypatch.setenv("FLOWERBED_DATA", str(root))
    return folder


@pytest.mark.parametrize("split", ["train", "validation"])
def test_the_real_ones_labels_are_in_that_order(real_imagenette, split):
    metadata = pq.read_schema(real_imagenette / f"{split}.parquet").metadata
    features = json.loads(metadata[b"huggingface"])["info"]["features"]
    assert features["label"]["names"] == NAMES


@pytest.mark.slow
def test_the_real_one(real_imagenette):
    data = load_images("imagenette", 64, "end", seed=0)
    assert data.x_train.shape == (9469, 64, 64, 3)
    assert data.x_test.shape == (3925, 64, 64, 3)
    assert data.num_classes == 10
    assert np.bincount(data.y_train).tolist() == [
        963, 955, 993, 858, 941, 956, 961, 931, 951, 960
    ]  # fmt: skip
    assert np.bincount(data.y_test).tolist() == [
        387, 395, 357, 386, 409, 394, 389, 419, 399, 390
    ]  # fmt: skip
    pixels = data.x_test[np.arange(len(data.x_test))]
    assert pixels.mean() / 255 == pytest.approx(0.455, abs=0.01)
