import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from common.data.columns import decode_images, decode_labels, decode_texts
from common.data.store import Split
from common.errors import UserInputError

INTEGERS = "must have one column 'label' of integers"
STRINGS = "must have one column 'text' of strings"
STRUCTS = "must have one column 'image' of structs with binary 'bytes'"


def split(**columns):
    return Split("mnist", "train.parquet", pa.table(columns))


def png(height, width):
    file = io.BytesIO()
    Image.fromarray(np.full((height, width), 7, np.uint8)).save(file, "PNG")
    return file.getvalue()


def message(decode):
    with pytest.raises(UserInputError) as caught:
        decode()
    start, end = "dataset='mnist' cannot be loaded: 'train.parquet' ", "."
    assert str(caught.value).startswith(start)
    assert str(caught.value).endswith(end)
    return str(caught.value).removeprefix(start).removesuffix(end)


@pytest.mark.parametrize("kind", [pa.int64(), pa.int32(), pa.uint8()])
def test_labels_of_any_integer_type(kind):
    labels = decode_labels(split(label=pa.array([0, 3, 9], kind)), "label", 10)
    assert labels.dtype == np.int64
    assert labels.tolist() == [0, 3, 9]


@pytest.mark.parametrize(
    ("labels", "rule"),
    [
        (
            [0, 10],
            "must have labels from 0 to 9 in the column 'label', and row 1 (counted from 0) has 10",
        ),
        (
            [-1, 0],
            "must have labels from 0 to 9 in the column 'label', and row 0 (counted from 0) has -1",
        ),
        (pa.array([2**64 - 1], pa.uint64()), f"and row 0 (counted from 0) has {2**64 - 1}"),
        ([0, 1, None], "must have a value in every row of the column 'label', and row 2"),
        ([0.0, 1.0], INTEGERS),
        (["0", "1"], INTEGERS),
        ([True, False], INTEGERS),
        ([[0], [1]], INTEGERS),
        ([None, None], INTEGERS),
    ],
)
def test_labels_that_are_not_allowed(labels, rule):
    assert rule in message(lambda: decode_labels(split(label=labels), "label", 10))


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_texts_in_several_pieces(kind):
    stored = pa.chunked_array([["Grüße", ""], [], [" two\twords\n"]], kind)
    assert decode_texts(split(text=stored), "text") == ("Grüße", "", " two\twords\n")


@pytest.mark.parametrize(
    ("texts", "rule"),
    [
        (["a", None, ""], "must have a value in every row of the column 'text', and row 1 (counte"),
        (
            pa.array([b"a", b"caf\xe9"]).view(pa.string()),
            "must have UTF-8 in the column 'text', and row 1 (counted from 0) has bytes that are "
            "not",
        ),
        (pa.array([b"\xed\xa0\x80"]).view(pa.string()), "row 0 (counted from 0) has bytes that"),
        ([b"a"], STRINGS),
        ([1], STRINGS),
        ([["a"]], STRINGS),
        ([None], STRINGS),
        (pa.array(["a"]).dictionary_encode(), STRINGS),
    ],
)
def test_texts_that_are_not_allowed(texts, rule):
    assert rule in message(lambda: decode_texts(split(text=texts), "text"))


def test_rows_are_counted_from_the_first_of_the_source():
    later = Split("mnist", "train.parquet", pa.table({"text": ["a", None]}), first_row=100)
    assert "and row 101 (counted" in message(lambda: decode_texts(later, "text"))


def test_no_such_column_or_two_of_them():
    twice = Split(
        "mnist",
        "train.parquet",
        pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["label"] * 2),
    )
    for one in (split(other=[1]), twice):
        assert message(lambda one=one: decode_labels(one, "label", 10)) == INTEGERS
    assert message(lambda: decode_images(split(label=[1]), "image", "L", 2, 3)) == STRUCTS
    assert message(lambda: decode_texts(split(label=[1]), "text")) == STRINGS


def test_images_in_several_pieces():
    pieces = pa.chunked_array([[{"bytes": png(2, 3)}], [{"bytes": png(2, 3)}] * 2])
    images = decode_images(split(image=pieces), "image", "L", 2, 3)
    assert images.shape == (3, 2, 3)
    assert (images == 7).all()


@pytest.mark.parametrize(
    ("images", "rule"),
    [
        ([png(2, 3)], STRUCTS),
        ([{"path": "0.png"}], STRUCTS),
        ([{"bytes": "text"}], STRUCTS),
        ([{"bytes": None}], STRUCTS),
        ([{"bytes": png(2, 3)}, None], "must have a value in every row of the column 'image', and"),
        ([{"bytes": png(2, 3)}, {"bytes": None}], "row 1 (counted from 0) has none"),
        (
            [{"bytes": png(2, 3)}] * 1500 + [{"bytes": png(9, 9)}],
            "must have whole PNGs of 2 x 3 pixels in 8-bit grey in the column 'image', and row "
            "1500 (counted from 0) is 9 x 9",
        ),
        ([{"bytes": b"GIF89a"}], "and row 0 (counted from 0) is no PNG, or a damaged one"),
    ],
)
def test_images_that_are_not_allowed(images, rule):
    assert rule in message(lambda: decode_images(split(image=images), "image", "L", 2, 3))
