import io
import os
import string
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import common
from common.data import load, store
from common.data.femnist import select_rows
from common.errors import UserInputError

CHARACTERS = string.digits + string.ascii_uppercase + string.ascii_lowercase
SCHEMA = pa.schema(
    {
        "image": pa.struct({"bytes": pa.binary(), "path": pa.string()}),
        "writer_id": pa.string(),
        "hsf_id": pa.int64(),
        "character": pa.int64(),
    }
)


def png(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def table(characters, pngs):
    """Rows as the hub has them, nine to a writer."""
    return pa.table(
        {
            "image": [{"bytes": content, "path": f"{i}.png"} for i, content in enumerate(pngs)],
            "writer_id": [f"f{i // 9:04d}_14" for i in range(len(pngs))],
            "hsf_id": [0] * len(pngs),
            "character": characters,
        },
        schema=SCHEMA,
    )


@pytest.fixture(scope="module")
def rows():
    """Twenty images of 'a' to 'j' but 'c', five of 'c', two of every other character; shuffled."""
    rng = np.random.default_rng(0)
    counts = [5 if c == "c" else 20 if c in "abdefghij" else 2 for c in CHARACTERS]
    characters = rng.permutation(np.repeat(np.arange(62), counts))
    images = rng.integers(0, 256, (len(characters), 28, 28), dtype=np.uint8)
    images.flags.writeable = False
    return characters, images, [png(image) for image in images]


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Where the data set is looked for in this test, which has a cache folder of its own."""
    monkeypatch.setenv("FLOWERBED_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = tmp_path / "data" / "femnist" / "train.parquet"
    file.parent.mkdir(parents=True)
    return file


def letters_of(characters):
    """Return the letters as the names of the labels have them, and where they are."""
    names = np.array(list(CHARACTERS))[characters]
    return names, np.flatnonzero(np.isin(names, list("abcdefghij")))


def test_all_of_a_small_file_a_tenth_of_each_letter_tests(file, rows):
    characters, images, pngs = rows
    pq.write_table(table(characters, pngs), file, row_group_size=64)
    data = load("femnist")
    assert data.x_train.shape == (9 * 18 + 5, 28, 28)
    assert data.x_test.shape == (9 * 2, 28, 28)
    assert data.x_train.dtype == data.x_test.dtype == np.uint8
    assert data.y_train.dtype == data.y_test.dtype == np.int64
    assert np.bincount(data.y_train).tolist() == [18, 18, 5, *[18] * 7]
    assert np.bincount(data.y_test).tolist() == [2, 2, 0, *[2] * 7]
    assert data.num_classes == 10
    assert data.natural_partition is None

    names, kept = letters_of(characters)
    seen = dict.fromkeys("abcdefghij", 0)
    train, test = [], []
    for row in kept:
        seen[names[row]] += 1
        (train if seen[names[row]] % 10 else test).append(row)
    np.testing.assert_array_equal(data.x_train, images[train])
    np.testing.assert_array_equal(data.x_test, images[test])
    assert ["abcdefghij"[label] for label in data.y_train] == names[train].tolist()
    assert ["abcdefghij"[label] for label in data.y_test] == names[test].tolist()


def test_rows_are_evenly_spaced_within_a_letter():
    """Of 25 times 'a' every second or third, of 12 times 'j' all but two; 'b' has too few."""
    letters = np.array([0, -36, 0, 9, 0, 25] * 8 + [0, 9, 9, 9, 9, 1])
    # Rows with 'a' are 0, 2, 4, 6, 8, 10, ...: the 0th, 2nd, 5th, 7th, ... of them is wanted.
    a = np.flatnonzero(letters == 0)[[0, 2, 5, 7, 10, 12, 15, 17, 20, 22]].tolist()
    # 12 * i // 10 leaves out the 5th and the 11th.
    j = np.flatnonzero(letters == 9)[[0, 1, 2, 3, 4, 6, 7, 8, 9, 10]].tolist()
    train, test = select_rows(letters, 100)
    assert train.tolist() == sorted([*a[:9], *j[:9], 53])
    assert test.tolist() == sorted([a[9], j[9]])


def test_as_many_of_each_letter_as_the_paper_has():
    letters = np.tile(np.arange(-36, 26), 3000)
    train, test = select_rows(letters, 18_345)
    assert (len(train), len(test)) == (16_515, 1_830)
    assert np.intersect1d(train, test).size == 0
    both = np.concatenate([train, test])
    assert np.bincount(letters[both]).tolist() == [1835] * 5 + [1834] * 5
    assert np.bincount(letters[test]).tolist() == [183] * 10
    gaps = np.diff(np.sort(both[letters[both] == 3]))
    assert set(gaps.tolist()) == {62, 124}
    assert (np.diff(train) > 0).all()
    assert (np.diff(test) > 0).all()


def test_decoded_once_and_mapped_from_the_cache(file, rows, tmp_path, monkeypatch):
    characters, _, pngs = rows
    pq.write_table(table(characters, pngs), file)
    first = load("femnist")
    folders = list((tmp_path / "cache" / "flowerbed").iterdir())
    assert [folder.name.partition("-")[0] for folder in folders] == ["femnist"]
    module = sys.modules["common.data.femnist"]  # common.data.femnist is the function.
    monkeypatch.setattr(module, "load_split", None)  # A second decoding would fail.
    again = load("femnist")
    for name in ("x_train", "y_train", "x_test", "y_test"):
        assert isinstance(getattr(again, name), np.memmap)
        np.testing.assert_array_equal(getattr(again, name), getattr(first, name))


def test_from_the_hub_it_is_the_only_split(rows, tmp_path, monkeypatch):
    characters, images, pngs = rows
    hub = table(characters, pngs)

    def load_dataset(name, split):
        assert (name, split) == ("flwrlabs/femnist", "train")
        return SimpleNamespace(with_format=lambda kind: {"arrow": hub}[kind])

    monkeypatch.delenv("FLOWERBED_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(store, "_hub_is_reachable", lambda: True)
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    data = load("femnist")
    first = letters_of(characters)[1][0]
    np.testing.assert_array_equal(data.x_train[0], images[first])


def refusal(file, characters, pngs):
    pq.write_table(table(characters, pngs), file)
    with pytest.raises(UserInputError) as caught:
        load("femnist")
    start = f"dataset='femnist' cannot be loaded: '{file}' "
    assert str(caught.value).startswith(start)
    assert not (file.parents[2] / "cache" / "flowerbed").exists()
    return str(caught.value).removeprefix(start)


@pytest.mark.parametrize("characters", [[0, 35, 46, 61] * 9, [36, 45] * 9])
def test_too_few_letters_to_test_with(file, rows, characters):
    assert refusal(file, characters, rows[2][: len(characters)]) == (
        "must have at least 10 rows of one of the letters 'a' to 'j' (labels 36 to 45 in the "
        "column 'character')."
    )


@pytest.mark.parametrize("label", [-1, 62])
def test_labels_of_no_character(file, rows, label):
    assert refusal(file, [36] * 10 + [label], rows[2][:11]) == (
        "must have labels from 0 to 61 in the column 'character', and row 10 (counted from 0) has "
        f"{label}."
    )


def test_a_damaged_letter_is_named_by_its_row_in_the_file(file, rows):
    pngs = [*rows[2][:20], rows[2][20][:-20]]
    assert refusal(file, [0] * 9 + [36] * 12, pngs) == (
        "must have whole PNGs of 28 x 28 pixels in 8-bit grey in the column 'image', and row 20 "
        "(counted from 0) is no PNG, or a damaged one."
    )


def test_images_of_other_characters_are_not_decoded(file, rows):
    pq.write_table(table([0] * 9 + [36] * 10, [b"no PNG"] * 9 + rows[2][:10]), file)
    assert load("femnist").x_train.shape == (9, 28, 28)


def test_columns_of_another_data_set_are_refused(file, write_split):
    write_split(file, np.zeros((20, 28, 28), np.uint8), [0] * 20)
    with pytest.raises(UserInputError, match=r"must have one column 'character' of integers\.$"):
        load("femnist")


@pytest.mark.slow
def test_the_real_one(tmp_path, monkeypatch):
    """As many of each letter as the paper's total asks for, dark on white."""
    beside_checkout = Path(common.__file__).parents[2] / "shared" / "data"
    root = Path(os.environ.get("FLOWERBED_DATA") or beside_checkout)
    if not (root / "femnist" / "train.parquet").is_file():
        pytest.skip(
            f"FEMNIST is not at {root / 'femnist'}; point FLOWERBED_DATA at a folder with it"
        )
    monkeypatch.setenv("FLOWERBED_DATA", str(root))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    data = load("femnist")
    assert np.bincount(data.y_train).tolist() == [1652] * 5 + [1651] * 5
    assert np.bincount(data.y_test).tolist() == [183] * 10
    assert np.median(data.x_train) == 255
