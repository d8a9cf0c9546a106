import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from common.data import image_file
from common.data.image_file import CorruptImageError, EvaluationTransform, decode_image

TO_8 = EvaluationTransform(resize=8, crop=8)


@pytest.mark.slow  # To import torchvision takes longer than all other tests here.
def test_pixels_are_those_of_torchvision(encode):
    from torchvision.transforms import CenterCrop, Resize

    sizes = [(30, 40), (40, 30), (500, 375), (333, 500), (64, 64), (37, 37), (9, 300), (300, 9)]
    for height, width in [*sizes, (1, 1)]:
        for mode in ("RGB", "L"):
            file = encode(height, width, kind="PNG", mode=mode)
            image = Image.open(io.BytesIO(file)).convert("RGB")
            for resize, crop in [(64, 64), (73, 64), (32, 28), (37, 32)]:
                theirs = CenterCrop(crop)(Resize(resize)(image))
                ours = decode_image(file, EvaluationTransform(resize, crop))
                np.testing.assert_array_equal(ours, np.asarray(theirs))


@pytest.mark.parametrize(
    ("height", "width", "scaled", "box"),
    [
        # By hand: int(256 * 500 / 375) = 341, (341 - 224) / 2 = 58.5, which rounds to even.
        (375, 500, (341, 256), (58, 16, 282, 240)),
        (500, 375, (256, 341), (16, 58, 240, 282)),
        (100, 100, (256, 256), (16, 16, 240, 240)),
        # int(256 * 103 / 100) = 263, (263 - 224) / 2 = 19.5, which rounds to even.
        (100, 103, (263, 256), (20, 16, 244, 240)),
    ],
)
def test_an_image_is_scaled_and_its_centre_is_taken(encode, height, width, scaled, box):
    file = encode(height, width, kind="PNG")
    image = Image.open(io.BytesIO(file)).resize(scaled, Image.Resampling.BILINEAR).crop(box)
    pixels = decode_image(file, EvaluationTransform(resize=256, crop=224))
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, np.asarray(image))


def test_an_image_of_the_right_size_is_taken_as_it_is(encode):
    file = encode(8, 8, kind="PNG")
    pixels = np.asarray(Image.open(io.BytesIO(file)))
    np.testing.assert_array_equal(decode_image(file, TO_8), pixels)


@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        ("JPEG", "RGB", {}),
        ("JPEG", "L", {}),
        ("JPEG", "CMYK", {}),
        ("JPEG", "RGB", {"progressive": True}),
        ("PNG", "RGB", {}),
        ("PNG", "RGBA", {}),
        ("PNG", "P", {}),
        ("PNG", "1", {}),
        ("WEBP", "RGB", {"lossless": True}),
        ("WEBP", "RGBA", {}),
    ],
)
def test_every_format_and_mode_becomes_rgb(encode, kind, mode, options):
    image = decode_image(encode(20, 30, 255, kind, mode, **options), TO_8)
    assert image.shape == (8, 8, 3)
    assert image.min() > 245


def test_a_file_is_read_from_where_it_is(tmp_path, encode):
    file = tmp_path / "image.JPEG"
    file.write_bytes(encode(20, 30, kind="PNG"))  # One of ILSVRC's JPEG files is a PNG, too.
    expected = decode_image(file.read_bytes(), TO_8)
    np.testing.assert_array_equal(decode_image(file, TO_8), expected)


def why(file, transform=TO_8):
    with pytest.raises(CorruptImageError) as caught:
        decode_image(file, transform)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_file_that_is_cut_off_is_noticed(encode, kind):
    file = encode(60, 60, kind=kind)
    for length in range(len(file) // 8, len(file) - len(file) // 8, len(file) // 8):
        assert why(file[:length]) == "not readable (damaged or cut off)"


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"\xff\xd8", b"text" * 99])
def test_what_is_no_image_is_noticed(content):
    assert why(content) == "no JPEG, PNG or WebP"


def test_other_formats_are_not_decoded(encode):
    assert why(encode(8, 8, kind="GIF")) == "no JPEG, PNG or WebP"
    assert why(encode(8, 8, kind="TIFF")) == "no JPEG, PNG or WebP"


def test_what_is_no_file_is_noticed(tmp_path):
    assert why(tmp_path / "missing.JPEG") == "not readable (No such file or directory)"
    assert why(tmp_path) == "no file"
    os.mkfifo(tmp_path / "pipe.JPEG")
    assert why(tmp_path / "pipe.JPEG") == "no file"


def huge_png(width, height):
    """A PNG of few bytes that says it is large."""

    def chunk(name, content):
        checksum = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


TOO_LARGE = "larger than 80 megapixels, as stored or as scaled"


@pytest.mark.parametrize(
    ("width", "height"), [(8001, 10_000), (100_000, 100_000), (20_000_000, 4), (1, 2**24)]
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_large_images_are_refused_before_they_are_decoded(width, height, monkeypatch):
    monkeypatch.setattr(Image.Image, "load", None)
    assert why(huge_png(width, height)) == TOO_LARGE


def test_an_image_that_scaled_is_large_is_refused(monkeypatch, encode):
    monkeypatch.setattr(image_file, "MOST_PIXELS", 1000)
    decode_image(encode(10, 100), EvaluationTransform(10, 10))
    assert why(encode(10, 100), EvaluationTransform(11, 10)) == TOO_LARGE
