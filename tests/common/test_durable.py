import errno
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from common.durable import telling, write_atomically
from common.errors import StorageError


def fail(*arguments, **keywords):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_file_is_written_and_replaced(tmp_path):
    file = tmp_path / "a.json"
    write_atomically(file, b"first")
    assert file.read_bytes() == b"first"
    write_atomically(file, b"")
    assert file.read_bytes() == b""
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(("owner", "name"), [(Path, "open"), (os, "fsync"), (Path, "replace")])
def test_what_was_there_stays_when_something_fails(tmp_path, monkeypatch, owner, name):
    file = tmp_path / "a.json"
    write_atomically(file, b"first")
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, fail)
        with pytest.raises(StorageError) as caught:
            write_atomically(file, b"second")
    assert str(caught.value) == f"{str(file)!r} could not be written: No space left on device."
    assert file.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [file]  # On a full disk its space is wanted.
    write_atomically(file, b"third")
    assert list(tmp_path.iterdir()) == [file]
    assert file.read_bytes() == b"third"


def test_a_link_that_lies_in_wait_is_not_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    (tmp_path / ".a.json.unfinished").symlink_to(victim)
    write_atomically(tmp_path / "a.json", b"theirs")
    assert victim.read_bytes() == b"mine"
    assert (tmp_path / "a.json").read_bytes() == b"theirs"


def test_nobody_ever_reads_half_a_file(tmp_path, monkeypatch):
    file = tmp_path / "a.json"
    write_atomically(file, b"first")
    seen = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: seen.append(file.read_bytes()) or fsync(fd))
    write_atomically(file, b"second")
    assert seen == [b"first", b"second"]


def test_the_content_is_on_disk_before_it_has_its_name(tmp_path, monkeypatch):
    steps = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: steps.append("fsync") or fsync(fd))
    monkeypatch.setattr(Path, "replace", lambda *paths: steps.append("replace") or replace(*paths))
    write_atomically(tmp_path / "a.json", b"content")
    assert steps == ["fsync", "replace", "fsync"]


@pytest.mark.parametrize("name", ["no/such/folder/a.json", "x" * 300])
def test_a_file_that_cannot_be_made_is_told(tmp_path, name):
    with pytest.raises(StorageError, match="could not be written: ") as caught:
        write_atomically(tmp_path / name, b"content")
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_system_that_is_full(tmp_path):
    """One is made of this process's own limit, and a real error of the system's."""
    file = tmp_path / "a.json"
    write_atomically(file, b"first")
    code = """
        import resource, signal, sys
        from pathlib import Path
        from common.errors import StorageError
        from common.durable import write_atomically
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        file = Path(sys.argv[1])
        try:
            write_atomically(file, bytes(1001))
        except StorageError as error:
            print(error)
        assert file.read_bytes() == b"first"
        write_atomically(file, bytes(1000))
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{str(file)!r} could not be written: File too large.\n"
    assert file.read_bytes() == bytes(1000)
    assert list(tmp_path.iterdir()) == [file]


def test_an_error_without_a_number_is_told_as_it_is(tmp_path):
    with (
        pytest.raises(StorageError, match=r"'a' could not be written: something\.$"),
        telling(Path("a")),
    ):
        raise OSError("something")


def test_other_errors_are_left_alone():
    with pytest.raises(ZeroDivisionError), telling(Path("a")):
        raise ZeroDivisionError
