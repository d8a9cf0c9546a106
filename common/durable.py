"""Files that are whole or not there, whenever the process or the machine dies."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from common.errors import StorageError


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file under another name, and give it its own once it is on disk.

    Raises:
        StorageError: It could not be written; what was there before still is.
    """
    unfinished = path.with_name(f".{path.name}.unfinished")
    with telling(path):
        try:
            unfinished.unlink(missing_ok=True)
            # Made here and now: a link of that name would have somebody else's file overwritten.
            with unfinished.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
        except OSError:
            unfinished.unlink(missing_ok=True)  # On a full disk its space is wanted.
            raise
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on disk, where the file system can do that."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def telling(path: Path) -> Iterator[None]:
    """Say in one sentence that a file could not be written.

    Raises:
        StorageError: The block raised an OSError.
    """
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{str(path)!r} could not be written: {error.strerror or error}."
        ) from None
