import numpy as np
import pytest
import torch
from torchvision import transforms

from common.images import CIFAR10_COLOURS, IMAGENET_COLOURS, crop_and_flip, normalise


def random_images(*shape):
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(0, 256, shape, dtype=np.uint8))


@pytest.mark.parametrize("colours", [IMAGENET_COLOURS, CIFAR10_COLOURS])
def test_normalised_images_are_those_of_torchvision(colours):
    images = random_images(5, 6, 7, 3)
    reference = transforms.Compose([transforms.ToTensor(), transforms.Normalize(*colours)])
    found = normalise(images, colours)
    assert found.dtype == torch.float32
    assert found.is_contiguous(memory_format=torch.channels_last)
    expected = torch.stack([reference(image.numpy()) for image in images])
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    assert torch.equal(images, random_images(5, 6, 7, 3))


def test_mean_and_deviation_are_those_of_torchvisions_weights():
    mean, std = IMAGENET_COLOURS
    assert (mean, std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    of_mean = torch.tensor(mean).mul(255).round().to(torch.uint8).expand(1, 2, 2, 3)
    assert normalise(of_mean, IMAGENET_COLOURS).abs().max() < 0.01


def views_of(image, border):
    """Return every crop of a bordered image, and its mirror, by (row, column, is mirrored)."""
    size = len(image)
    padded = np.pad(image, ((border, border), (border, border), (0, 0)))
    crops = {
        (row, column): padded[row : row + size, column : column + size]
        for row in range(2 * border + 1)
        for column in range(2 * border + 1)
    }
    mirrored = {(*corner, True): crop[:, ::-1] for corner, crop in crops.items()}
    return {(*corner, False): crop for corner, crop in crops.items()} | mirrored


def test_an_augmented_image_is_a_crop_of_its_own_and_every_crop_occurs():
    images = random_images(4, 8, 8, 3)
    rng, met = np.random.default_rng(0), []
    for _ in range(200):
        found = crop_and_flip(images, rng)
        assert (found.shape, found.dtype) == (images.shape, torch.uint8)
        for image, augmented in zip(images.numpy(), found.numpy(), strict=True):
            (view,) = [
                view
                for view, expected in views_of(image, 1).items()
                if np.array_equal(augmented, expected)
            ]
            met.append(view)
    corners, counts = np.unique(met, axis=0, return_counts=True)
    assert len(corners) == 3 * 3 * 2
    assert np.abs(counts - 800 / 18).max() < 5 * np.sqrt(800 / 18)
    assert torch.equal(images, random_images(4, 8, 8, 3))


def test_the_border_is_an_eighth_of_the_image():
    images = torch.full((400, 32, 32, 3), 9, dtype=torch.uint8)
    found = crop_and_flip(images, np.random.default_rng(0))
    black = (found == 0).all(dim=3)
    columns = black.all(dim=1).sum(dim=1)
    rows = black.all(dim=2).sum(dim=1)
    assert {*rows.tolist()} == {*columns.tolist()} == {0, 1, 2, 3, 4}


def test_augmentation_is_a_function_of_the_generator():
    images = random_images(20, 32, 32, 3)
    first, again, other = (crop_and_flip(images, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
