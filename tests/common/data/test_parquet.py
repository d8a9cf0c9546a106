import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from common.data import parquet
from common.data.parquet import NotAllowedError, read_batches, read_table


@pytest.fixture
def file(data_folder):
    """A place for a test split, where it is looked for."""
    (data_folder / "mnist").mkdir()
    return data_folder / "mnist" / "test.parquet"


def test_batches_are_the_table(file):
    rows = [{"bytes": bytes([i]) * i, "path": str(i)} for i in range(50)]
    pq.write_table(
        pa.table({"image": rows, "label": list(range(50)), "x": rows}), file, row_group_size=23
    )
    columns = ["label", "image.bytes", "none"]
    batches = list(read_batches(file, columns))
    table = read_table(file, columns)
    assert pa.Table.from_batches(batches).equals(table)
    assert table.column_names == ["label", "image"]
    assert table["label"].to_pylist() == list(range(50))
    assert table["image"].to_pylist() == [{"bytes": row["bytes"]} for row in rows]
    assert max(batch.num_rows for batch in batches) == 4
    assert [batch.num_rows for batch in read_batches(file, ["label"])] == [23, 23, 4]


def test_no_rows(file):
    pq.write_table(pa.table({"label": pa.array([], pa.int64())}), file)
    assert list(read_batches(file, ["label"])) == []
    with pytest.raises(NotAllowedError, match=r"^must have at least one row$"):
        read_table(file, ["label"])


def test_more_rows_than_any_data_set_has_are_refused(file):
    """A thousand bytes are enough for as many equal rows as one likes."""
    pq.write_table(pa.table({"label": np.zeros(parquet.MOST_ROWS + 1, np.int64)}), file)
    assert file.stat().st_size < 50_000
    for columns in (["label"], ["none"]):
        with pytest.raises(NotAllowedError, match=r"^must have at most 2,000,000 rows$"):
            read_table(file, columns)


def test_more_bytes_than_any_data_set_has_are_refused(file, monkeypatch):
    image = pa.array([{"bytes": bytes(2**15)}] * 64)
    pq.write_table(pa.table({"image": image}), file)
    assert file.stat().st_size < 50_000
    monkeypatch.setattr(parquet, "MOST_BYTES", 2**20)
    with pytest.raises(NotAllowedError, match=r"^must have at most 1 MiB of rows$"):
        read_table(file, ["image.bytes"])
    assert sum(batch.num_rows for batch in read_batches(file, ["image.bytes"])) == 64
    monkeypatch.setattr(parquet, "MOST_BATCH_BYTES", 2**16)
    with pytest.raises(NotAllowedError, match=r"^must have at most 0 MiB in 4 rows$"):
        next(read_batches(file, ["image.bytes"]))


def images(values, indices=None):
    """Images in the hub's schema; with indices, of values that the file has once."""
    values = pa.array(values, pa.binary())
    if indices is not None:
        values = pa.DictionaryArray.from_arrays(pa.array(indices, pa.int32()), values)
    return pa.StructArray.from_arrays([values], ["bytes"])


def write(file, table, **options):
    """Write a file that is as small as it can be."""
    pq.write_table(
        pa.table(table), file, compression="zstd", write_statistics=False, store_schema=False,
        **options,
    )  # fmt: skip


LABELS = np.zeros(256, np.int64)
HOSTILE = {
    "one value of 64 MiB in all rows": (
        lambda file: write(file, {"image": images([bytes(2**26)], LABELS), "label": LABELS}),
        "must have at most 128 MiB in 4 rows",
    ),
    "one value of 15 MiB in all rows": (
        lambda file: write(file, {"image": images([bytes(15 * 2**20)], LABELS), "label": LABELS}),
        "must have at most 512 MiB of rows",
    ),
    "one value of 1 MiB in all rows": (
        lambda file: write(file, {"image": images([bytes(2**20)], [0] * 2000)}),
        "must have at most 512 MiB of rows",
    ),
    "one value of 64 MiB, and many rows without": (
        lambda file: write(
            file, {"image": images([bytes(2**26 - 9), b""], [0] + [1] * 999)},
            dictionary_pagesize_limit=2**27,
        ),
        "must have one column 'label' of integers",
    ),
    "no values of 4 MiB each": (
        lambda file: write(file, {"label": pa.nulls(256, pa.binary(2**22))}),
        "must have one column 'label' of integers",
    ),
    "any number of values a row": (
        lambda file: write(
            file, {"label": pa.ListArray.from_arrays(
                100 * np.arange(257, dtype=np.int32),
                images([bytes(2**16)], [0] * 25_600).field("bytes"),
            )},
        ),
        "must have one column 'label' of integers",
    ),
}  # fmt: skip

CHILD = """
from pathlib import Path

from common.data import load
from common.errors import UserInputError


def peak():
    # Not ru_maxrss, which has the peak of the process that started this one, too.
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


before = peak()
try:
    load("mnist")
except UserInputError as error:
    print(error)
    print(peak() - before)
"""


@pytest.mark.parametrize(("make", "rule"), HOSTILE.values(), ids=HOSTILE)
def test_a_small_file_cannot_ask_for_much_memory(file, make, rule):
    train = file.with_name("train.parquet")
    make(train)
    assert train.stat().st_size < 15_000
    start = time.monotonic()
    child = subprocess.run(
        [sys.executable, "-c", CHILD], capture_output=True, text=True, check=True
    )
    message, mebibytes = child.stdout.splitlines()
    assert message == f"dataset='mnist' cannot be loaded: '{train}' {rule}."
    assert int(mebibytes) < 800
    assert time.monotonic() - start < 20


@pytest.mark.parametrize("dictionary", [True, False])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "zstd"])
@pytest.mark.parametrize("group", [7, 1000])
def test_whatever_a_writer_chooses_is_read(file, dictionary, version, compression, group):
    rows = [{"bytes": bytes([i]) * i, "path": None} for i in range(100)]
    pq.write_table(
        pa.table({"image": rows, "label": list(range(100))}), file, use_dictionary=dictionary,
        data_page_version=version, compression=compression, row_group_size=group,
    )  # fmt: skip
    table = read_table(file, ["image.bytes", "label"])
    assert [image["bytes"] for image in table["image"].to_pylist()] == [r["bytes"] for r in rows]
    assert table["label"].to_pylist() == list(range(100))
