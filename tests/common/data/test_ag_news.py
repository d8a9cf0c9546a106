import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import common
from common.data import load_texts
from common.errors import UserInputError

TRAIN = {"text": ["War ends.", "Cup won", "", "Chips rise"], "label": [0, 1, 2, 3]}
TEST = {"text": ["Bonds fall"], "label": [2]}


@pytest.fixture
def write(data_folder):
    """Writes one split, and returns where it is."""

    def write(split, columns):
        file = data_folder / "ag_news" / f"{split}.parquet"
        file.parent.mkdir(exist_ok=True)
        pq.write_table(pa.table(columns), file)
        return file

    return write


def test_texts_and_labels_are_those_of_the_files(write, cache):
    write("train", TRAIN)
    write("test", TEST)
    data = load_texts("ag_news")
    assert data.x_train == ("War ends.", "Cup won", "", "Chips rise")
    assert data.y_train.tolist() == [0, 1, 2, 3]
    assert data.x_test == ("Bonds fall",)
    assert data.y_test.tolist() == [2]
    assert data.y_train.dtype == data.y_test.dtype == np.int64
    assert data.class_names == ("world", "sports", "business", "sci_tech")
    assert data.num_classes == 4
    assert not cache.exists()


@pytest.mark.parametrize("changed", ["train", "test"])
def test_the_fingerprint_is_the_files(write, changed):
    files = {"train": write("train", TRAIN), "test": write("test", TEST)}
    first = load_texts("ag_news").fingerprint
    assert load_texts("ag_news").fingerprint == first
    os.utime(files[changed], ns=(1, 1))
    assert load_texts("ag_news").fingerprint != first


@pytest.mark.parametrize(
    ("columns", "rule"),
    [
        ({"label": [0]}, r"must have one column 'text' of strings"),
        ({"text": ["a"]}, r"must have one column 'label' of integers"),
        ({"text": [b"a"], "label": [0]}, r"must have one column 'text' of strings"),
        ({"text": ["a", None], "label": [0, 1]}, r"must have a value .*'text', and row 1 .* none"),
        ({"text": ["a"], "label": [4]}, r"must have labels from 0 to 3 .* and row 0 .* has 4"),
        ({"text": ["a"], "label": [-1]}, r"must have labels from 0 to 3 .* and row 0 .* has -1"),
    ],
)
@pytest.mark.parametrize("split", ["train", "test"])
def test_what_is_not_ag_news_is_refused(write, split, columns, rule):
    write("train", TRAIN)
    write("test", TEST)
    write(split, columns)
    with pytest.raises(UserInputError, match=rf"^dataset='ag_news' .*{split}\.parquet' {rule}\.$"):
        load_texts("ag_news")


def test_neither_on_disk_nor_on_the_hub(data_folder, no_hub):
    with pytest.raises(
        UserInputError, match=r"at \$FLOWERBED_DATA/ag_news/train\.parquet .* 'fancyzhx/ag_news' "
    ):
        load_texts("ag_news")


def test_unknown_name_has_no_loader():
    with pytest.raises(KeyError):
        load_texts("nosuch")


def test_the_real_one(monkeypatch):
    """The test set is whole; of the training set a copy may have a part."""
    beside_checkout = Path(common.__file__).parents[2] / "shared" / "data"
    root = Path(os.environ.get("FLOWERBED_DATA") or beside_checkout)
    if not all((root / "ag_news" / f"{split}.parquet").is_file() for split in ("train", "test")):
        pytest.skip(f"AG News is not at {root}/ag_news; point FLOWERBED_DATA at a folder with it")
    monkeypatch.setenv("FLOWERBED_DATA", str(root))
    data = load_texts("ag_news")
    assert np.bincount(data.y_test).tolist() == [1900] * 4
    assert len(data.x_test) == 7600
    assert data.x_test[0].startswith("Fears for T N pension after talks Unions representing")
    assert data.y_test[0] == 2
    assert len(data.x_train) == len(data.y_train) <= 120_000
    assert np.bincount(data.y_train).max() <= 30_000
    assert min(map(len, data.x_train)) > 0
