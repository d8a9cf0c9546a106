import os
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from common.data import load, store
from common.data.store import fingerprint, load_split
from common.errors import UserInputError

COLUMNS = ("image.bytes", "label")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Where decoded arrays go in this test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def load_test_split():
    return load_split("mnist", "ylecun/mnist", "test", COLUMNS)


def test_local_file_is_read_as_it_is(tiny_mnist_folder, tiny_mnist_arrays, monkeypatch):
    monkeypatch.setenv("FLOWERBED_DATA", str(tiny_mnist_folder))
    monkeypatch.setattr(store, "_hub_is_reachable", None)  # Nobody asks.
    split = load_test_split()
    assert split.source == str(tiny_mnist_folder / "mnist" / "test.parquet")
    assert split.table.column_names == ["image", "label"]
    assert split.table["label"].to_pylist() == tiny_mnist_arrays.y_test.tolist()
    assert split.table["image"][0].as_py()["bytes"].startswith(b"\x89PNG")


@pytest.fixture
def no_hub(monkeypatch):
    """The hub is not reachable, and its client says so as it does: with an error of its own."""
    asked = []

    def load_dataset(name, split):
        asked.append((name, split, os.environ.get("HF_HUB_OFFLINE")))
        raise ConnectionError(f"Couldn't reach {name}\non the Hub")

    monkeypatch.setattr(store, "_hub_is_reachable", lambda: False)
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")  # Restored afterwards, whatever the code sets.
    return asked


@pytest.mark.parametrize("known", [True, False])
def test_neither_disk_nor_hub_is_one_sentence_with_both_ways(tmp_path, monkeypatch, no_hub, known):
    if known:
        monkeypatch.setenv("FLOWERBED_DATA", str(tmp_path))
        state = f"FLOWERBED_DATA is '{tmp_path}'"
    else:
        monkeypatch.delenv("FLOWERBED_DATA", raising=False)
        state = "FLOWERBED_DATA is not set"
    start = time.monotonic()
    with pytest.raises(UserInputError) as caught:
        load("mnist")
    assert time.monotonic() - start < 5
    assert str(caught.value) == (
        "dataset='mnist' cannot be loaded: it must be at $FLOWERBED_DATA/mnist/train.parquet "
        f"({state}), or the Hugging Face hub must be reachable, where it is 'ylecun/mnist' "
        "(ConnectionError)."
    )
    assert no_hub == [("ylecun/mnist", "train", "1")]  # What is downloaded already would do.


def test_a_split_that_is_missing_on_disk_comes_from_the_hub(
    tmp_path, monkeypatch, no_hub, tiny_mnist_arrays, write_split
):
    write_split(
        tmp_path / "mnist" / "train.parquet", tiny_mnist_arrays.x_train, tiny_mnist_arrays.y_train
    )
    monkeypatch.setenv("FLOWERBED_DATA", str(tmp_path))
    with pytest.raises(UserInputError, match=r"\$FLOWERBED_DATA/mnist/test\.parquet"):
        load("mnist")
    assert [split for _, split, _ in no_hub] == ["test"]


def test_hub_table_has_the_images_still_encoded(tiny_mnist_folder, monkeypatch):
    """As the hub's client hands it over: its own class, from which the plain table must come."""
    import datasets

    file = tiny_mnist_folder / "mnist" / "test.parquet"
    features = datasets.Features(
        image=datasets.Image(), label=datasets.ClassLabel(names=[str(i) for i in range(10)])
    )
    hub = datasets.Dataset.from_parquet(
        str(file), features=features, cache_dir=str(tiny_mnist_folder / "hub_cache")
    )
    monkeypatch.delenv("FLOWERBED_DATA", raising=False)
    monkeypatch.setattr(store, "_hub_is_reachable", lambda: True)
    monkeypatch.setattr(datasets, "load_dataset", lambda name, split: {"test": hub}[split])
    split = load_test_split()
    assert isinstance(split.table, pa.Table)
    assert split.source == "ylecun/mnist/test"
    monkeypatch.setenv("FLOWERBED_DATA", str(tiny_mnist_folder))
    local = load_test_split().table
    assert split.table["label"].to_pylist() == local["label"].to_pylist()
    images = [image["bytes"] for image in split.table["image"].to_pylist()]
    assert images == [image["bytes"] for image in local["image"].to_pylist()]


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9", "no address"])
def test_an_unreachable_hub_is_found_so_quickly(monkeypatch, endpoint):
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    start = time.monotonic()
    assert store._hub_is_reachable() is False
    assert time.monotonic() - start < 5


def test_fingerprint_follows_the_files(tmp_path, monkeypatch):
    monkeypatch.setenv("FLOWERBED_DATA", str(tmp_path))
    hub = fingerprint("mnist", ("train", "test"))
    file = tmp_path / "mnist" / "train.parquet"
    file.parent.mkdir()
    file.write_bytes(b"one")
    local = fingerprint("mnist", ("train", "test"))
    assert fingerprint("mnist", ("train", "test")) == local
    os.utime(file, ns=(0, 0))
    touched = fingerprint("mnist", ("train", "test"))
    file.write_bytes(b"other")
    os.utime(file, ns=(0, 0))
    longer = fingerprint("mnist", ("train", "test"))
    elsewhere = tmp_path / "b" / "mnist" / "train.parquet"
    elsewhere.parent.mkdir(parents=True)
    elsewhere.write_bytes(b"other")
    os.utime(elsewhere, ns=(0, 0))
    monkeypatch.setenv("FLOWERBED_DATA", str(tmp_path / "b"))
    moved = fingerprint("mnist", ("train", "test"))
    assert len({hub, local, touched, longer, moved, fingerprint("other", ("train", "test"))}) == 6


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A place for a test split, where it is looked for."""
    monkeypatch.setenv("FLOWERBED_DATA", str(tmp_path / "data"))
    file = tmp_path / "data" / "mnist" / "test.parquet"
    file.parent.mkdir(parents=True)
    return file


def cut_off(file):
    pq.write_table(pa.table({"label": list(range(1000))}), file)
    os.truncate(file, file.stat().st_size - 20)


DAMAGES = {
    "empty": lambda file: file.touch(),
    "no parquet": lambda file: file.write_text("PAR1 or not"),
    "cut off": cut_off,
    "a folder": lambda file: file.mkdir(),
    "a pipe": os.mkfifo,
    "a broken link": lambda file: file.symlink_to(file.with_name("nothing")),
    "a link to itself": lambda file: file.symlink_to(file),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_what_is_no_whole_parquet_file_is_refused(file, damage):
    damage(file)
    with pytest.raises(UserInputError) as caught:
        load_test_split()
    start = f"dataset='mnist' cannot be loaded: '{file}' must be a parquet file, whole and readable"
    assert str(caught.value).startswith(f"{start} (")


def test_damaged_pages_are_noticed_by_their_checksums(file):
    table = pa.table({"label": list(range(1000))})
    pq.write_table(table, file, write_page_checksum=True, compression="none", use_dictionary=False)
    content = file.read_bytes()
    number = (77).to_bytes(8, "little")
    assert content.count(number) == 1
    file.write_bytes(content.replace(number, (78).to_bytes(8, "little")))
    with pytest.raises(UserInputError, match="whole and readable"):
        load_test_split()


def test_a_file_that_must_not_be_read_is_refused(file, monkeypatch):
    file.touch()

    def forbidden(self, mode):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(file), "open", forbidden)
    with pytest.raises(UserInputError, match=r"whole and readable \(Permission denied\)\.$"):
        load_test_split()


def test_a_file_that_cannot_be_reached_has_no_fingerprint(file):
    file.symlink_to(file)
    with pytest.raises(UserInputError, match="must be a parquet file"):
        fingerprint("mnist", ("test",))


@pytest.mark.parametrize("root", ["~nobody-of-that-name", "x" * 5000])
def test_a_root_that_cannot_be_a_folder_is_one_sentence(monkeypatch, root):
    monkeypatch.setenv("FLOWERBED_DATA", root)
    with pytest.raises(UserInputError, match=r"FLOWERBED_DATA='.*' is not allowed: it must be a f"):
        load_test_split()


def test_no_rows_are_refused(file):
    pq.write_table(pa.table({"label": pa.array([], pa.int64())}), file)
    with pytest.raises(UserInputError, match=r"test\.parquet' must have at least one row\.$"):
        load_test_split()


def test_more_rows_than_any_data_set_has_are_refused(file):
    """A thousand bytes are enough for as many equal rows as one likes."""
    pq.write_table(pa.table({"label": np.zeros(store.MOST_ROWS + 1, np.int64)}), file)
    assert file.stat().st_size < 50_000
    with pytest.raises(UserInputError, match=r"must have at most 2,000,000 rows and 512 MiB"):
        load_test_split()


def test_more_bytes_than_any_data_set_has_are_refused(file, monkeypatch):
    monkeypatch.setattr(store, "MOST_BYTES", 2**20)
    image = pa.array([{"bytes": bytes(2**15)}] * 64)
    pq.write_table(pa.table({"image": image}), file)
    assert file.stat().st_size < 50_000
    with pytest.raises(UserInputError, match="and 1 MiB of them"):
        load_test_split()


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
        "must have at most 2,000,000 rows and 512 MiB of them",
    ),
    "one value of 15 MiB in all rows": (
        lambda file: write(file, {"image": images([bytes(15 * 2**20)], LABELS), "label": LABELS}),
        "must have at most 2,000,000 rows and 512 MiB of them",
    ),
    "one value of 1 MiB in all rows": (
        lambda file: write(file, {"image": images([bytes(2**20)], [0] * 2000)}),
        "must have at most 2,000,000 rows and 512 MiB of them",
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
    table = load_test_split().table
    assert [image["bytes"] for image in table["image"].to_pylist()] == [r["bytes"] for r in rows]
    assert table["label"].to_pylist() == list(range(100))
