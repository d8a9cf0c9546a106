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
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from common.durable import sync_folder
from common.errors import UserInputError

Arrays = dict[str, NDArray[Any]]

_CONTENTS = "contents.json"


class Layout(NamedTuple):
    """What an array of examples is.

    Attributes:
        dtype: Type of its elements.
        example_shape: Its shape but for the first axis, which counts the examples.
    """

    dtype: type[np.generic]
    example_shape: tuple[int, ...]


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
        The arrays, memory-mapped read-only.

    Raises:
        UserInputError: The cache folder cannot be written, or is full.
    """
    folder = _cache_folder() / key
    arrays = _read(folder, layouts)
    if arrays is not None:
        return arrays
    # Now, because once there is a copy again it may be another process's, and good.
    _discard(folder)
    _write(folder, decode())
    arrays = _read(folder, layouts)
    if arrays is None:
        raise _unusable("what was written cannot be read back")
    return arrays


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


def _read(folder: Path, layouts: Mapping[str, Layout]) -> Arrays | None:
    """Map the arrays of a folder; None if it has none, or not the ones expected."""
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
        if json.loads((folder / _CONTENTS).read_bytes()) != _contents(arrays):
            return None
    except Exception:  # numpy raises half a dozen unrelated types for a damaged file.
        return None
    return arrays


def _contents(arrays: Mapping[str, NDArray[Any]]) -> dict[str, dict[str, int]]:
    """Return the number of examples of each array, and the checksum if that is read quickly."""
    return {
        name: {"examples": len(array)}
        | ({"crc32": zlib.crc32(np.ascontiguousarray(array).data)} if array.ndim == 1 else {})
        for name, array in arrays.items()
    }


def _discard(folder: Path) -> None:
    """Take a copy away from under its name at once, then delete it."""
    if not os.path.lexists(folder):
        return
    try:
        rubbish = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=folder.parent))
        with suppress(FileNotFoundError):  # Another process was first.
            folder.rename(rubbish / folder.name)
    except OSError as error:
        raise _unusable(error.strerror or str(error)) from None
    shutil.rmtree(rubbish, ignore_errors=True)


@contextmanager
def _synced(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write it, which is on the disk in the end."""
    with path.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _write(folder: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write all arrays or none: a folder under its final name is always whole.

    Everything is on the disk before it gets that name, so that this holds after a crash of the
    machine, too.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=folder.parent))
        try:
            for name, array in arrays.items():
                with _synced(unfinished / f"{name}.npy") as file:
                    np.save(file, np.ascontiguousarray(array), allow_pickle=False)
            with _synced(unfinished / _CONTENTS) as file:
                file.write(json.dumps(_contents(arrays)).encode())
            sync_folder(unfinished)
            unfinished.rename(folder)
            sync_folder(folder.parent)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        if not folder.is_dir():  # Otherwise another process was first: its copy is as good.
            raise _unusable(error.strerror or str(error)) from None
