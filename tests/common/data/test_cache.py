import errno
import os
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from common.data.cache import memory_mapped, memory_mapped_in_parts
from common.data.npy import Layout, NpyWriter
from common.errors import UserInputError

ARRAYS = {
    "x": np.arange(12, dtype=np.uint8).reshape(3, 4),
    "y": np.array([7, 8, 9], dtype=np.int64),
}
LAYOUTS = {"x": Layout(np.uint8, (4,)), "y": Layout(np.int64, ())}
NUMBERS = {"x": Layout(np.float64, ()), "y": Layout(np.float64, ())}


def never():
    raise AssertionError("decoded again")


def names(folder):
    return sorted(file.name for file in folder.iterdir())


def test_arrays_come_back_as_they_were(cache):
    for _ in range(2):
        arrays = memory_mapped("key", LAYOUTS, lambda: ARRAYS)
        assert arrays.keys() == ARRAYS.keys()
        for name, array in ARRAYS.items():
            assert arrays[name].dtype == array.dtype
            np.testing.assert_array_equal(arrays[name], array)
    assert names(cache) == ["key"]
    assert names(cache / "key") == ["contents.json", "x.npy", "y.npy"]


def test_decodes_once_a_key():
    memory_mapped("key", LAYOUTS, lambda: ARRAYS)
    memory_mapped("key", LAYOUTS, never)
    other = memory_mapped("other", {"z": Layout(np.float64, ())}, lambda: {"z": np.ones(2)})
    assert list(other) == ["z"]
    assert list(memory_mapped("key", LAYOUTS, never)) == ["x", "y"]


def test_arrays_are_mapped_read_only(cache):
    x = memory_mapped("key", LAYOUTS, lambda: ARRAYS)["x"]
    assert isinstance(x, np.memmap)
    assert os.fspath(x.filename) == os.fspath(cache / "key" / "x.npy")
    with pytest.raises(ValueError, match="read-only"):
        x[0, 0] = 1


def test_cache_is_below_the_home_folder_by_default(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    memory_mapped("key", LAYOUTS, lambda: ARRAYS)
    assert names(tmp_path / "home" / ".cache" / "flowerbed") == ["key"]


class NotDecodableError(Exception):
    pass


def test_a_decode_that_raises_leaves_nothing(cache):
    def fail():
        raise NotDecodableError

    with pytest.raises(NotDecodableError):
        memory_mapped("key", LAYOUTS, fail)
    assert not cache.exists() or names(cache) == []
    assert list(memory_mapped("key", LAYOUTS, lambda: ARRAYS)) == ["x", "y"]


def test_an_array_that_cannot_be_written_leaves_nothing(cache):
    """The second array is refused when the first is on the disk already."""
    arrays = {"x": ARRAYS["x"], "y": np.array([object()])}
    with pytest.raises(ValueError, match="object"):
        memory_mapped("key", LAYOUTS, lambda: arrays)
    assert names(cache) == []
    assert list(memory_mapped("key", LAYOUTS, lambda: ARRAYS)) == ["x", "y"]


def test_a_full_disk_is_one_sentence_and_leaves_nothing(cache, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserInputError) as caught:
        memory_mapped("key", LAYOUTS, lambda: ARRAYS)
    assert str(caught.value) == (
        f"the cache folder '{cache}' cannot be used: XDG_CACHE_HOME ('{tmp_path / 'cache'}') must "
        "be a folder that can be written, with space for the decoded data (No space left on "
        "device)."
    )
    assert names(cache) == []


def test_a_cache_that_cannot_be_made_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(UserInputError, match=r"XDG_CACHE_HOME .* must be a folder"):
        memory_mapped("key", LAYOUTS, lambda: ARRAYS)
    monkeypatch.setenv("XDG_CACHE_HOME", "~nobody-of-that-name/cache")
    with pytest.raises(UserInputError, match="XDG_CACHE_HOME='~nobody"):
        memory_mapped("key", LAYOUTS, lambda: ARRAYS)


def cut_off(folder):
    os.truncate(folder / "x.npy", 130)


def empty(folder):
    os.truncate(folder / "x.npy", 0)


def missing(folder):
    (folder / "x.npy").unlink()


def pickled(folder):
    np.save(folder / "x.npy", np.array([print]), allow_pickle=True)


def archive(folder):
    with (folder / "x.npy").open("wb") as file:
        np.savez(file, x=ARRAYS["x"])


def other_type(folder):
    np.save(folder / "x.npy", ARRAYS["x"].astype(np.int16))


def other_shape(folder):
    np.save(folder / "x.npy", ARRAYS["x"].T)


def scalar(folder):
    np.save(folder / "x.npy", np.uint8(1))


def fewer_examples(folder):
    np.save(folder / "x.npy", ARRAYS["x"][:2])


def fewer_of_both(folder):
    fewer_examples(folder)
    np.save(folder / "y.npy", ARRAYS["y"][:2])


def fewer_in_the_header(folder):
    content = (folder / "x.npy").read_bytes()
    (folder / "x.npy").write_bytes(content.replace(b"(3, 4)", b"(2, 4)"))


def shorter_header(folder):
    """The examples seem to start 16 bytes too early."""
    content = bytearray((folder / "x.npy").read_bytes())
    content[8] -= 16
    (folder / "x.npy").write_bytes(content)


def too_long(folder):
    with (folder / "x.npy").open("ab") as file:
        file.write(b"x")


def other_order(folder):
    np.save(folder / "x.npy", np.asfortranarray(ARRAYS["x"]))


def other_label(folder):
    np.save(folder / "y.npy", np.array([7, 8, 10]))


def flipped_bit_of_a_label(folder):
    content = bytearray((folder / "y.npy").read_bytes())
    content[-8] ^= 1
    (folder / "y.npy").write_bytes(content)


def no_contents(folder):
    (folder / "contents.json").unlink()


def contents_cut_off(folder):
    os.truncate(folder / "contents.json", 20)


def contents_of_another_copy(folder):
    (folder / "contents.json").write_text("[]")


def file_instead(folder):
    shutil.rmtree(folder)
    folder.write_text("no folder")


@pytest.mark.parametrize(
    "damage",
    [
        *(cut_off, empty, missing, pickled, archive, other_type, other_shape, scalar),
        *(fewer_examples, fewer_of_both, fewer_in_the_header, shorter_header, too_long),
        *(other_order, other_label, flipped_bit_of_a_label),
        *(no_contents, contents_cut_off, contents_of_another_copy, file_instead),
    ],
)
def test_a_damaged_copy_is_replaced(cache, damage):
    memory_mapped("key", LAYOUTS, lambda: ARRAYS)
    damage(cache / "key")
    arrays = memory_mapped("key", LAYOUTS, lambda: ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)
    assert names(cache) == ["key"]
    memory_mapped("key", LAYOUTS, never)


def test_arrays_in_another_order_in_memory_come_back_as_they_were():
    arrays = {"x": np.asfortranarray(ARRAYS["x"]), "y": np.arange(6)[::2]}
    for again in (lambda: arrays, never):
        mapped = memory_mapped("key", LAYOUTS, again)
        for name, array in arrays.items():
            np.testing.assert_array_equal(mapped[name], array)


def test_everything_is_on_the_disk_before_it_gets_its_name(cache, monkeypatch):
    done = []
    fsync, rename = os.fsync, Path.rename

    def synced(descriptor):
        done.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    def renamed(self, target):
        done.append("renamed")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "rename", renamed)
    memory_mapped("key", LAYOUTS, lambda: ARRAYS)
    assert done[:3] == ["y.npy", "x.npy", "contents.json"]
    assert done[3].startswith("key-")
    assert done[4:] == ["renamed", "flowerbed"]


def test_what_a_killed_process_left_is_not_taken_for_a_copy(cache):
    leftover = cache / "key-abc"
    leftover.mkdir(parents=True)
    np.save(leftover / "x.npy", np.zeros(1))
    np.testing.assert_array_equal(memory_mapped("key", LAYOUTS, lambda: ARRAYS)["x"], ARRAYS["x"])


def test_whoever_comes_second_takes_the_first_ones_copy(cache):
    first = {"x": np.zeros(3), "y": np.zeros(3)}

    def overtaken():
        memory_mapped("key", NUMBERS, lambda: first)  # Another process, from start to end.
        return {"x": np.ones(3), "y": np.ones(3)}

    arrays = memory_mapped("key", NUMBERS, overtaken)
    assert arrays["x"].tolist() == arrays["y"].tolist() == [0, 0, 0]
    assert names(cache) == ["key"]


REMARKS = ["one image is corrupt", "\udc80"]


def write_in_parts(writer):
    writer.require_space(3)
    for i in range(3):
        writer.append({name: array[i : i + 1] for name, array in ARRAYS.items()})
    return REMARKS


def test_parts_come_back_as_arrays_with_the_remarks(cache):
    for decode in (write_in_parts, never):
        copy = memory_mapped_in_parts("key", LAYOUTS, decode)
        assert copy.remarks == REMARKS
        for name, array in ARRAYS.items():
            assert isinstance(copy.arrays[name], np.memmap)
            np.testing.assert_array_equal(copy.arrays[name], array)
    assert names(cache) == ["key", "key.lock"]


def test_parts_are_the_same_copy_as_arrays(cache):
    memory_mapped_in_parts("parts", LAYOUTS, lambda writer: write_in_parts(writer) and [])
    memory_mapped("arrays", LAYOUTS, lambda: ARRAYS)
    for name in names(cache / "arrays"):
        assert (cache / "parts" / name).read_bytes() == (cache / "arrays" / name).read_bytes()


def test_parts_that_end_with_an_exception_leave_nothing(cache):
    def interrupted(writer):
        write_in_parts(writer)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        memory_mapped_in_parts("key", LAYOUTS, interrupted)
    assert names(cache) == ["key.lock"]
    assert memory_mapped_in_parts("key", LAYOUTS, write_in_parts).remarks == REMARKS


def test_too_little_space_is_one_sentence_before_anything_is_written(cache, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    # An example is 4 bytes and a label of 8.
    with pytest.raises(UserInputError) as caught:
        memory_mapped_in_parts("key", LAYOUTS, lambda writer: writer.require_space(10**9))
    assert str(caught.value) == (
        f"the cache folder '{cache}' cannot be used: XDG_CACHE_HOME ('{tmp_path / 'cache'}') must "
        "be a folder that can be written, with space for the decoded data (12.0 GB are needed and "
        "1.0 GB are free)."
    )
    assert names(cache) == ["key.lock"]


def test_an_error_of_the_source_is_not_taken_for_one_of_the_cache():
    def fail(writer):
        writer.append(ARRAYS)
        raise OSError(errno.EIO, "the source cannot be read")

    with pytest.raises(OSError, match="the source cannot be read"):
        memory_mapped_in_parts("key", LAYOUTS, fail)


def test_a_disk_that_is_full_after_some_parts_is_one_sentence(cache, monkeypatch):
    def full(self, examples):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(NpyWriter, "append", full)
    with pytest.raises(UserInputError, match=r"decoded data \(No space left on device\)\.$"):
        memory_mapped_in_parts("key", LAYOUTS, write_in_parts)
    assert names(cache) == ["key.lock"]


def test_what_killed_processes_left_is_deleted_before_parts_are_written(cache):
    for leftover in ("key-abcd_123", "key-other0", "kez-abcd_123"):
        (cache / leftover).mkdir(parents=True)
    memory_mapped_in_parts("key", LAYOUTS, write_in_parts)
    assert names(cache) == ["key", "key-other0", "key.lock", "kez-abcd_123"]


def test_of_two_at_once_one_decodes_and_the_other_waits(capsys):
    is_decoding, may_end = threading.Event(), threading.Event()

    def decode(writer):
        is_decoding.set()
        assert may_end.wait(60)
        return write_in_parts(writer)

    with ThreadPoolExecutor(2) as pool:  # Locks are between descriptors, and each has its own.
        first = pool.submit(memory_mapped_in_parts, "key", LAYOUTS, decode)
        assert is_decoding.wait(60)
        second = pool.submit(memory_mapped_in_parts, "key", LAYOUTS, never)
        deadline = time.monotonic() + 60
        told = ""
        while "waiting for another process" not in told and time.monotonic() < deadline:
            told += capsys.readouterr().err
            time.sleep(0.01)
        assert not second.done()
        may_end.set()
        assert first.result().remarks == second.result().remarks == REMARKS


def test_without_locks_it_is_written_all_the_same(cache, monkeypatch):
    def no_locks(self, **kwargs):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(FileLock, "acquire", no_locks)
    (cache / "key-abcd_123").mkdir(parents=True)  # It may be another process's.
    memory_mapped_in_parts("key", LAYOUTS, write_in_parts)
    assert names(cache) == ["key", "key-abcd_123"]


RACER = """
import os, sys, time
from pathlib import Path

import numpy as np

from common.data.cache import memory_mapped
from common.data.npy import Layout

folder, me = Path(sys.argv[1]), int(sys.argv[2])


def decode():
    # Both are here before either goes on.
    (folder / f"decoding-{me}").touch()
    while len(list(folder.glob("decoding-*"))) < 2:
        time.sleep(0.001)
    return {name: np.full(100_000, me) for name in "abcd"}


arrays = memory_mapped("key", {name: Layout(np.int64, ()) for name in "abcd"}, decode)
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
