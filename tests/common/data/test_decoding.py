import os
import threading

import numpy as np
import pytest

from common.data import decoding
from common.data.decoding import decode_in_parallel
from common.data.image_file import EvaluationTransform
from common.data.image_split import EncodedImage

TO_4 = EvaluationTransform(resize=4, crop=4)


def encoded(files):
    return (EncodedImage(i % 10, f"image {i}", file) for i, file in enumerate(files))


def test_images_come_in_their_order(encode):
    shades = [encode(4, 4, shade, "PNG") for shade in range(100)]
    parts = list(decode_in_parallel(encoded(shades), TO_4))
    images = np.concatenate([part.images for part in parts])
    labels = np.concatenate([part.labels for part in parts])
    assert images.dtype == np.uint8
    assert images.shape == (100, 4, 4, 3)
    assert labels.dtype == np.int64
    np.testing.assert_array_equal(images[:, 0, 0, 0], np.arange(100))
    np.testing.assert_array_equal(labels, np.arange(100) % 10)
    assert sum(part.num_seen for part in parts) == 100


def test_corrupt_images_are_left_out_and_named(encode):
    files = [encode(4, 4, shade, "PNG") for shade in range(40)]
    for i in (0, 15, 16, 39):
        files[i] = b"no image"
    parts = list(decode_in_parallel(encoded(files), TO_4))
    assert [name for part in parts for name in part.corrupt] == [
        f"image {i} is no JPEG, PNG or WebP" for i in (0, 15, 16, 39)
    ]
    left = np.concatenate([part.images[:, 0, 0, 0] for part in parts])
    assert left.tolist() == [i for i in range(40) if i not in (0, 15, 16, 39)]
    assert len(np.concatenate([part.labels for part in parts])) == 36
    assert sum(part.num_seen for part in parts) == 40


def test_no_images():
    assert list(decode_in_parallel([], TO_4)) == []


def test_no_more_are_read_than_are_decoded_next(encode, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0})
    read = []
    file = encode(4, 4, 0, "PNG")

    def source():
        for i in range(1000):
            read.append(i)
            yield EncodedImage(0, "", file)

    parts = decode_in_parallel(source(), TO_4)
    for number in range(1, 6):
        next(parts)
        assert len(read) <= 16 * (number + 2)
    parts.close()
    assert len(read) < 200


def test_an_error_of_the_source_ends_it(encode):
    def source():
        yield from encoded([encode(4, 4)] * 100)
        raise KeyboardInterrupt

    threads = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        list(decode_in_parallel(source(), TO_4))
    assert threading.active_count() == threads


def test_an_error_that_is_no_corrupt_image_ends_it(encode, monkeypatch):
    def no_memory(file, transform):
        raise MemoryError

    monkeypatch.setattr(decoding, "decode_image", no_memory)
    with pytest.raises(MemoryError):
        list(decode_in_parallel(encoded([encode(4, 4)] * 100), TO_4))
