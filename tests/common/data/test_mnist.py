import os
import sys

import numpy as np
import pytest

from common.data import load
from common.errors import UserInputError

ARRAYS = ("x_train", "y_train", "x_test", "y_test")


def test_images_and_labels_are_those_of_the_files(tiny_mnist):
    data = load("mnist")
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(data, name), getattr(tiny_mnist, name))
    assert data.x_train.dtype == np.uint8
    assert data.y_train.dtype == data.y_test.dtype == np.int64
    assert data.num_classes == 10
    assert data.natural_partition is None


def test_decoded_once_and_mapped_from_the_cache(tiny_mnist, tmp_path, monkeypatch):
    load("mnist")
    folders = list((tmp_path / "cache" / "flowerbed").iterdir())
    assert [folder.name.partition("-")[0] for folder in folders] == ["mnist"]
    module = sys.modules["common.data.mnist"]  # common.data.mnist is the function.
    monkeypatch.setattr(module, "load_split", None)  # A second decoding would fail.
    again = load("mnist")
    for name in ARRAYS:
        assert isinstance(getattr(again, name), np.memmap)
        np.testing.assert_array_equal(getattr(again, name), getattr(tiny_mnist, name))


def test_changed_files_are_decoded_again(tiny_mnist, tmp_path, write_split, monkeypatch):
    load("mnist")
    folder = tmp_path / "changed"
    write_split(folder / "mnist" / "train.parquet", tiny_mnist.x_train, tiny_mnist.y_train)
    write_split(folder / "mnist" / "test.parquet", tiny_mnist.x_train[:5], tiny_mnist.y_train[:5])
    monkeypatch.setenv("FLOWERBED_DATA", str(folder))
    assert load("mnist").x_test.shape == (5, 28, 28)
    write_split(folder / "mnist" / "test.parquet", tiny_mnist.x_train[:7], tiny_mnist.y_train[:7])
    os.utime(folder / "mnist" / "test.parquet", ns=(1, 1))
    np.testing.assert_array_equal(load("mnist").x_test, tiny_mnist.x_train[:7])


def test_unknown_name_has_no_loader():
    with pytest.raises(KeyError):
        load("nosuch")


def test_the_real_one(real_mnist):
    """Counts and pixel statistics as published everywhere."""
    data = load("mnist")
    assert data.x_train.shape == (60_000, 28, 28)
    assert data.x_test.shape == (10_000, 28, 28)
    assert np.bincount(data.y_train).tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949
    ]  # fmt: skip
    assert np.bincount(data.y_test).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009
    ]  # fmt: skip
    assert data.y_train[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert data.x_train.mean() / 255 == pytest.approx(0.1307, abs=5e-5)
    assert data.x_train.std() / 255 == pytest.approx(0.3081, abs=5e-5)


def test_labels_are_checked_when_they_are_loaded(tiny_mnist, tmp_path, write_split, monkeypatch):
    for split, last in (("train", 9), ("test", 10)):
        write_split(tmp_path / "mnist" / f"{split}.parquet", tiny_mnist.x_test[:2], [0, last])
    monkeypatch.setenv("FLOWERBED_DATA", str(tmp_path))
    with pytest.raises(
        UserInputError, match=r"test\.parquet' must have labels from 0 to 9 .* has 10\.$"
    ):
        load("mnist")
    assert not (tmp_path / "cache" / "flowerbed").exists()


def test_images_are_28_pixels_square(tiny_mnist, tmp_path, write_split, monkeypatch):
    images = np.zeros((1, 32, 32), np.uint8)
    write_split(tmp_path / "mnist" / "train.parquet", images, [0])
    write_split(tmp_path / "mnist" / "test.parquet", images, [0])
    monkeypatch.setenv("FLOWERBED_DATA", str(tmp_path))
    with pytest.raises(UserInputError, match=r"PNGs of 28 x 28 pixels .* is 32 x 32\.$"):
        load("mnist")
