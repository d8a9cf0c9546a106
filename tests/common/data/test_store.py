import os
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from common.data import load, store
from common.data.store import fingerprint, load_table, memory_mapped
from common.errors import UserInputError

ARRAYS = {
    "x": np.arange(12, dtype=np.uint8).reshape(3, 4),
    "y": np.array([7, 8, 9], dtype=np.int64),
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Where decoded arrays go in this test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "flowerbed"


def never():
    raise AssertionError("decoded again")


def names(folder):
    return sorted(file.name for file in folder.iterdir())


def test_arrays_come_back_as_they_were(cache):
    for _ in range(2):
        arrays = memory_mapped("key", lambda: ARRAYS)
        assert arrays.keys() == ARRAYS.keys()
        for name, array in ARRAYS.items():
            assert arrays[name].dtype == array.dtype
            np.testing.assert_array_equal(arrays[name], array)
    assert names(cache) == ["key"]
    assert names(cache / "key") == ["x.npy", "y.npy"]


def test_decodes_once_a_key():
    memory_mapped("key", lambda: ARRAYS)
    memory_mapped("key", never)
    other = memory_mapped("other", lambda: {"z": np.ones(2)})
    assert list(other) == ["z"]
    assert list(memory_mapped("key", never)) == ["x", "y"]


def test_arrays_are_mapped_read_only(cache):
    x = memory_mapped("key", lambda: ARRAYS)["x"]
    assert isinstance(x, np.memmap)
    assert os.fspath(x.filename) == os.fspath(cache / "key" / "x.npy")
    with pytest.raises(ValueError, match="read-only"):
        x[0, 0] = 1


def test_cache_is_below_the_home_folder_by_default(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    memory_mapped("key", lambda: ARRAYS)
    assert names(tmp_path / "home" / ".cache" / "flowerbed") == ["key"]


class NotDecodableError(Exception):
    pass


def test_a_decode_that_raises_leaves_nothing(cache):
    def fail():
        raise NotDecodableError

    with pytest.raises(NotDecodableError):
        memory_mapped("key", fail)
    assert not cache.exists() or names(cache) == []
    assert list(memory_mapped("key", lambda: ARRAYS)) == ["x", "y"]


def test_an_array_that_cannot_be_written_leaves_nothing(cache):
    """The second array is refused (no pickle) when the first is on the disk already."""
    arrays = {"x": ARRAYS["x"], "y": np.array([object()])}
    with pytest.raises(ValueError, match="pickle"):
        memory_mapped("key", lambda: arrays)
    assert names(cache) == []
    assert list(memory_mapped("key", lambda: ARRAYS)) == ["x", "y"]


def test_a_full_disk_is_no_race(cache, monkeypatch):
    def full(*args, **kwargs):
        raise OSError("no space left")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match="no space left"):
        memory_mapped("key", lambda: ARRAYS)
    assert names(cache) == []


def test_what_a_killed_process_left_is_not_taken_for_a_copy(cache):
    leftover = cache / "key-abc"
    leftover.mkdir(parents=True)
    np.save(leftover / "x.npy", np.zeros(1))
    np.testing.assert_array_equal(memory_mapped("key", lambda: ARRAYS)["x"], ARRAYS["x"])


def test_whoever_comes_second_takes_the_first_ones_copy(cache):
    first = {"x": np.zeros(3), "y": np.zeros(3)}

    def overtaken():
        memory_mapped("key", lambda: first)  # Another process, from start to end.
        return {"x": np.ones(3), "y": np.ones(3)}

    arrays = memory_mapped("key", overtaken)
    assert arrays["x"].tolist() == arrays["y"].tolist() == [0, 0, 0]
    assert names(cache) == ["key"]


RACER = """
import os, sys, time
from pathlib import Path

import numpy as np

from common.data.store import memory_mapped

folder, me = Path(sys.argv[1]), int(sys.argv[2])


def decode():
    # Both are here before either goes on.
    (folder / f"decoding-{me}").touch()
    while len(list(folder.glob("decoding-*"))) < 2:
        time.sleep(0.001)
    return {name: np.full(100_000, me) for name in "abcd"}


arrays = memory_mapped("key", decode)
print({int(value) for array in arrays.values() for value in array}, sorted(arrays))
"""


def test_two_processes_at_once_leave_one_whole_copy(cache, tmp_path):
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(tmp_path), str(me)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for me in (1, 2)
    ]
    try:
        results = [racer.communicate(timeout=60) for racer in racers]
    finally:
        for racer in racers:
            racer.kill()
            racer.wait()
    assert [racer.returncode for racer in racers] == [0, 0], results
    seen = {out for out, _ in results}
    assert len(seen) == 1
    assert seen.pop() in {f"{{{me}}} ['a', 'b', 'c', 'd']\n" for me in (1, 2)}
    assert names(cache) == ["key"]


def test_local_file_is_read_as_it_is(tiny_mnist_folder, tiny_mnist_arrays, monkeypatch):
    monkeypatch.setenv("FLOWERBED_DATA", str(tiny_mnist_folder))
    monkeypatch.setattr(store, "_hub_is_reachable", never)
    table = load_table("mnist", "ylecun/mnist", "test")
    assert table.column_names == ["image", "label"]
    assert table["label"].to_pylist() == tiny_mnist_arrays.y_test.tolist()
    assert table["image"][0].as_py()["bytes"].startswith(b"\x89PNG")


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
    table = load_table("mnist", "ylecun/mnist", "test")
    assert isinstance(table, pa.Table)
    monkeypatch.setenv("FLOWERBED_DATA", str(tiny_mnist_folder))
    local = load_table("mnist", "ylecun/mnist", "test")
    assert table.to_pylist() == local.to_pylist()


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
