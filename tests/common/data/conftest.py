"""Fixtures that more than one of these tests uses."""

import io

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Where decoded arrays go in a test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "flowerbed"


@pytest.fixture
def data_folder(tmp_path, monkeypatch):
    """Where data sets are looked for in a test."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("FLOWERBED_DATA", str(folder))
    return folder


@pytest.fixture(scope="session")
def encode():
    """Encodes pixels [height, width, 3], of one colour or random ones, in any format."""

    def encode(height, width, colour=None, kind="JPEG", mode="RGB", **options):
        if colour is None:
            pixels = np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)
        else:
            pixels = np.full((height, width, 3), colour, np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).convert(mode).save(file, kind, **options)
        return file.getvalue()

    return encode


@pytest.fixture
def write_class_folders(data_folder, encode):
    """Writes JPEGs of 40 x 30 pixels into class folders, all of a class in one shade of grey.

    The shade is 20 for the first class, 40 for the second and so on.
    """

    def write(name, **splits):
        for split, numbers in splits.items():
            for i, (wnid, number) in enumerate(numbers.items()):
                folder = data_folder / name / split / wnid
                folder.mkdir(parents=True)
                for j in range(number):
                    (folder / f"{j}.JPEG").write_bytes(encode(30, 40, 20 * (i + 1)))
        return data_folder / name

    return write
