"""Decoded arrays, kept so that a host decodes a data set once.

They are plain ``.npy`` files in the user's cache folder, memory-mapped read-only, so that every
worker of a host shares one copy through the page cache.

Next to them is a list of how many examples each array has, and of the checksums of those with one
number an example, which are small: the labels. So a copy is found damaged if a file is missing,
cut off, too long or of another layout, if arrays belong together no more, and if a label has
changed. Not noticed is a change within the other arrays, such as a flipped bit of a pixel: to
read all of them at the start of every worker would undo what the mapping saves.
"""

import json
import os
import shutil
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from common.data.npy import Layout, NpyWriter
from common.durable import sync_folder
from common.errors import UserInputError

Arrays = dict[str, NDArray[Any]]

_CONTENTS = "contents.json"


class Copy(NamedTuple):
    """Arrays in the cache.

    Attributes:
        arrays: The arrays by name, memory-mapped read-only, in the shapes that were stored.
        remarks: What was noticed when they were decoded.
    """

    arrays: Arrays
    remarks: list[str]


def image_layouts(image_shape: tuple[int, ...]) -> dict[str, Layout]:
    """Return the layouts of images uint8 and labels int64, of the splits "train" and "test"."""
    layouts = {}
    for split in ("train", "test"):
        layouts[f"x_{split}"] = Layout(np.uint8, image_shape)
        layouts[f"y_{split}"] = Layout(np.int64, ())
    return layouts


def memory_mapped(
    key: str, layouts: Mapping[str, Layout], decode: Callable[[], Mapping[str, NDArray[Any]]]
) -> Arrays:
    """Return the arrays of ``decode``, which is called only when the cache has none for ``key``.

    A cached copy that is damaged, or not of the layout that this code expects, counts as none.

    Args:
        key: Names the arrays; a change of their source or of the decoding must change it.
        layouts: What the arrays are, by name.
        decode: Makes the arrays, by name.

    Returns:
        The arrays in the shapes of ``decode``, memory-mapped read-only.

    Raises:
        UserInputError: The cache folder cannot be written, or is full.
    """
    folder = _cache_folder() / key
    copy = _read(folder, layouts)
    if copy is None:
        # Now, because once there is a copy again it may be another process's, and good.
        _discard(folder)
        arrays = decode()

        def write(writer: ArrayWriter) -> list[str]:
            writer.append(arrays)
            return []

        copy = _write(folder, layouts, write)
    return copy.arrays


def memory_mapped_in_parts(
    key: str, layouts: Mapping[str, Layout], decode: Callable[["ArrayWriter"], list[str]]
) -> Copy:
    """Return the arrays that ``decode`` writes part by part: :func:`memory_mapped` for large ones.

    Of several processes one decodes, and the others wait for it. What is left of an attempt that
    was killed is deleted.

    Args:
        key: Names the arrays; a change of their source or of the decoding must change it.
        layouts: What the arrays are, by name.
        decode: Gives the arrays to a writer, and returns the remarks to be kept with them.

    Raises:
        UserInputError: The cache folder cannot be written, or has too little space.
    """
    folder = _cache_folder() / key
    copy = _read(folder, layouts)
    if copy is not None:
        return copy
    with _locked(folder) as is_alone:
        copy = _read(folder, layouts)
        if copy is None:
            _discard(folder)
            if is_alone:
                _delete_unfinished(folder)
            copy = _write(folder, layouts, decode)
    return copy


class ArrayWriter:
    """Writes the arrays of a copy part by part, in a ``with`` block.

    Args:
        folder: Where their files are made.
        layouts: What the arrays are, by name.
    """

    def __init__(self, folder: Path, layouts: Mapping[str, Layout]) -> None:
        self._folder = folder
        self._layouts = layouts
        self._writers: dict[str, NpyWriter] = {}
        self._open = ExitStack()

    def __enter__(self) -> Self:
        with _telling():
            for name, layout in self._layouts.items():
                writer = NpyWriter(self._folder / f"{name}.npy", layout)
                self._writers[name] = self._open.enter_context(writer)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with _telling():
            self._open.__exit__(kind, error, traceback)

    def require_space(self, num_examples: int) -> None:
        """Refuse to start what cannot be finished.

        Args:
            num_examples: How many examples there will be at most.

        Raises:
            UserInputError: The disk has no space for so many.
        """
        need = num_examples * sum(layout.example_bytes for layout in self._layouts.values())
        with _telling():
            free = shutil.disk_usage(self._folder).free
        if need > free:
            raise _unusable(f"{need / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free")

    def append(self, examples: Mapping[str, NDArray[Any]]) -> None:
        """Add examples to the end of the arrays.

        Args:
            examples: The examples by the arrays' names, of the layouts promised: shape
                [examples, ...].

        Raises:
            UserInputError: They cannot be written, such as on a full disk.
        """
        with _telling():
            for name, writer in self._writers.items():
                writer.append(examples[name])


def _cache_folder() -> Path:
    root = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(root).expanduser() if root else Path.home() / ".cache") / "flowerbed"
    except RuntimeError:
        raise UserInputError(
            f"XDG_CACHE_HOME={root or ''!r} is not allowed: it must be a folder that can be "
            "written (there is no home folder)."
        ) from None


def _unusable(reason: str) -> UserInputError:
    root = os.environ.get("XDG_CACHE_HOME")
    return UserInputError(
        f"the cache folder {str(_cache_folder())!r} cannot be used: XDG_CACHE_HOME "
        f"({repr(root) if root else 'not set'}) must be a folder that can be written, with space "
        f"for the decoded data ({reason})."
    )


@contextmanager
def _telling() -> Iterator[None]:
    """Say in one sentence that the cache folder cannot be used."""
    try:
        yield
    except OSError as error:
        raise _unusable(error.strerror or str(error)) from None


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Wait until no other process writes a folder; yield whether none does.

    That is not certain where the file system has no locks. Then two may write it, and either
    copy is as good.

    Yields:
        Whether this process writes it alone.
    """
    with _telling():
        folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{folder}.lock")
    try:
        try:
            lock.acquire(blocking=False)
        except Timeout:
            print(f"waiting for another process, which writes {str(folder)!r}", file=sys.stderr)
            lock.acquire()
    except (OSError, NotImplementedError):
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _read(folder: Path, layouts: Mapping[str, Layout]) -> Copy | None:
    """Map the arrays of a folder; None if it has none, or not the ones expected."""
    arrays = _map(folder, layouts)
    if arrays is None:
        return None
    try:
        contents = (folder / _CONTENTS).read_bytes()
        copy = Copy(arrays, json.loads(contents)["remarks"])
        return copy if contents == _contents(copy) else None
    except Exception:  # Among them those of a JSON file with something else in it.
        return None


def _map(folder: Path, layouts: Mapping[str, Layout]) -> Arrays | None:
    arrays: Arrays = {}
    try:
        for name, layout in layouts.items():
            file = folder / f"{name}.npy"
            array = np.load(file, mmap_mode="r", allow_pickle=False)
            if not isinstance(array, np.memmap) or array.ndim == 0 or not array.flags.c_contiguous:
                return None
            if array.dtype != layout.dtype or array.shape[1:] != layout.example_shape:
                return None
            if file.stat().st_size != array.offset + array.nbytes:
                return None
            arrays[name] = array
    except Exception:  # numpy raises half a dozen unrelated types for a damaged file.
        return None
    return arrays


def _contents(copy: Copy) -> bytes:
    """Return the number of examples of each array, and the checksum if that is read quickly."""
    arrays = {
        name: {"examples": len(array)}
        | ({"crc32": zlib.crc32(np.ascontiguousarray(array).data)} if array.ndim == 1 else {})
        for name, array in copy.arrays.items()
    }
    return json.dumps({"arrays": arrays, "remarks": copy.remarks}).encode()


def _discard(folder: Path) -> None:
    """Take a copy away from under its name at once, then delete it."""
    if not os.path.lexists(folder):
        return
    with _telling():
        rubbish = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=folder.parent))
        with suppress(FileNotFoundError):  # Another process was first.
            folder.rename(rubbish / folder.name)
    shutil.rmtree(rubbish, ignore_errors=True)


def _delete_unfinished(folder: Path) -> None:
    """Delete what processes that were killed have left beside a folder."""
    with _telling():
        for unfinished in folder.parent.glob(f"{folder.name}-{'?' * 8}"):
            shutil.rmtree(unfinished, ignore_errors=True)


def _write(
    folder: Path, layouts: Mapping[str, Layout], decode: Callable[[ArrayWriter], list[str]]
) -> Copy:
    """Write all arrays or none: a folder under its final name is always whole.

    Everything is on the disk before it gets that name, so that this holds after a crash of the
    machine, too.

    Returns:
        What was written, or what another process wrote first.
    """
    with _telling():
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=folder.parent))
    try:
        with ArrayWriter(unfinished, layouts) as writer:
            remarks = decode(writer)
        arrays = _map(unfinished, layouts)
        if arrays is not None:
            _publish(unfinished, folder, _contents(Copy(arrays, remarks)))
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    copy = _read(folder, layouts)
    if copy is None:
        raise _unusable("what was written cannot be read back")
    return copy


def _publish(unfinished: Path, folder: Path, contents: bytes) -> None:
    """Give a copy its name; if there is one already, another process was first, and it is kept."""
    try:
        with (unfinished / _CONTENTS).open("wb") as file:
            file.write(contents)
            file.flush()
            os.fsync(file.fileno())
        sync_folder(unfinished)
        unfinished.rename(folder)
        sync_folder(folder.parent)
    except OSError as error:
        if not folder.is_dir():
            raise _unusable(error.strerror or str(error)) from None
