import numpy as np
import pytest
from fedprox.normalisation import mnist_normalisation, normalisation

from common.data import load


def test_per_pixel_is_numpys_mean_and_deviation(tiny_mnist):
    shift, scale = mnist_normalisation("per_pixel")
    pixels = tiny_mnist.x_train.reshape(200, 784).astype(np.float64)
    assert shift.shape == scale.shape == (784,)
    assert shift.dtype == scale.dtype == np.float32
    np.testing.assert_allclose(shift, pixels.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(scale, pixels.std(axis=0) + 0.001, rtol=1e-6)


@pytest.mark.parametrize("value", [0, 255])
def test_pixel_that_never_changes_is_divided_by_a_thousandth(
    tiny_mnist, tmp_path, write_split, monkeypatch, value
):
    """As most of MNIST's border, which must not become nan."""
    images = tiny_mnist.x_train.copy()
    images[:, 0, 0] = value
    images[:, 0, 1] = 0
    images[0, 0, 1] = 1
    for split in ("train", "test"):
        write_split(tmp_path / "mnist" / f"{split}.parquet", images, tiny_mnist.y_train)
    monkeypatch.setenv("FLOWERBED_DATA", str(tmp_path))
    shift, scale = mnist_normalisation("per_pixel")
    assert (shift[0], scale[0]) == (value, np.float32(0.001))
    assert shift[1] == np.float32(1 / 200)
    assert scale[1] == pytest.approx(np.sqrt(1 / 200 - 1 / 200**2) + 0.001)
    assert np.isfinite(scale).all()


@pytest.mark.parametrize(
    ("dataset", "expected"), [("femnist", 255), ("synthetic", 1), ("synthetic_iid", 1)]
)
def test_only_mnist_is_standardised(make_config, dataset, expected):
    shift, scale = normalisation(make_config(dataset=dataset))
    assert (float(shift), float(scale)) == (0, expected)


@pytest.mark.parametrize("kind", ["per_pixel", "global"])
def test_the_key_chooses_how_mnist_is_standardised(make_config, tiny_mnist, kind):
    found = normalisation(make_config(dataset="mnist", normalisation=kind))
    for one, other in zip(found, mnist_normalisation(kind), strict=True):
        np.testing.assert_array_equal(one, other)


def test_global_is_two_constants():
    shift, scale = mnist_normalisation("global")
    assert shift.shape == scale.shape == ()
    assert shift.dtype == scale.dtype == np.float32
    assert float(shift) / 255 == pytest.approx(0.1307, abs=5e-5)
    assert float(scale) / 255 == pytest.approx(0.3081, abs=5e-5)


def test_of_the_real_one(real_mnist):
    pixels = load("mnist").x_train.reshape(60_000, 784)
    shift, scale = mnist_normalisation("global")
    assert float(shift) == pytest.approx(pixels.mean(), abs=5e-5)
    assert float(scale) == pytest.approx(pixels.std(), abs=5e-5)
    shift, scale = mnist_normalisation("per_pixel")
    np.testing.assert_allclose(shift, pixels.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(scale, pixels.std(axis=0) + 0.001, rtol=1e-5)
    assert (scale == np.float32(0.001)).sum() == 67  # Pixels that are 0 in every training image.
