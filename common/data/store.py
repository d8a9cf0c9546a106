"""Data sets as stored: parquet files in the Hugging Face schema, decoded once into arrays.

The decoded arrays are plain ``.npy`` files in the user's cache folder, memory-mapped read-only,
so that every worker of a host shares one copy through the page cache.
"""

import hashlib
import os
import shutil
import tempfile
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from common.errors import UserInputError

Arrays = dict[str, NDArray[Any]]


def load_table(name: str, hub_name: str, split: str) -> pa.Table:
    """Return one split of a data set, images still encoded.

    Args:
        name: Folder below ``$FLOWERBED_DATA`` that may hold ``<split>.parquet``.
        hub_name: Name of the data set on the Hugging Face hub.
        split: Name of the split, e.g. "train".

    Raises:
        UserInputError: The data set is neither on disk nor reachable.
    """
    local = _local_file(name, split)
    if local is not None:
        return pq.read_table(local)
    if not _hub_is_reachable():
        # Only what the hub client has downloaded before; otherwise it would retry for half a
        # minute. The variable is read when the client is imported.
        os.environ["HF_HUB_OFFLINE"] = "1"
    import datasets

    try:
        loaded = datasets.load_dataset(hub_name, split=split)
    except Exception as error:  # The hub client raises a dozen unrelated types when offline.
        root = os.environ.get("FLOWERBED_DATA")
        raise UserInputError(
            f"dataset={name!r} cannot be loaded: it must be at $FLOWERBED_DATA/{name}/{split}"
            f".parquet (FLOWERBED_DATA is {repr(root) if root else 'not set'}), or the Hugging "
            f"Face hub must be reachable, where it is {hub_name!r} ({type(error).__name__})."
        ) from None
    return loaded.with_format("arrow")[:]


def _hub_is_reachable() -> bool:
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    try:
        with urllib.request.urlopen(endpoint, timeout=10):
            return True
    except (OSError, ValueError):
        return False


def fingerprint(name: str, splits: tuple[str, ...]) -> str:
    """Identify the files that a data set would be decoded from, without reading them."""
    parts = [name]
    for split in splits:
        local = _local_file(name, split)
        if local is None:
            parts.append("hub")
        else:
            status = local.stat()
            parts.append(f"{local.resolve()}:{status.st_size}:{status.st_mtime_ns}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def memory_mapped(key: str, decode: Callable[[], Mapping[str, NDArray[Any]]]) -> Arrays:
    """Return the arrays of ``decode``, which is called only when the cache has none for ``key``.

    Args:
        key: Names the arrays; a change of their source or of the decoding must change it.
        decode: Makes the arrays, by name.

    Returns:
        The arrays, memory-mapped read-only.
    """
    folder = _cache_folder() / key
    if not folder.is_dir():
        _write(folder, decode())
    return {file.stem: np.load(file, mmap_mode="r") for file in sorted(folder.glob("*.npy"))}


def _local_file(name: str, split: str) -> Path | None:
    root = os.environ.get("FLOWERBED_DATA")
    if not root:
        return None
    file = Path(root).expanduser() / name / f"{split}.parquet"
    return file if file.is_file() else None


def _cache_folder() -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root).expanduser() / "flowerbed"


def _write(folder: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write all arrays or none: a folder under its final name is always whole."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=folder.parent))
    try:
        for name, array in arrays.items():
            np.save(unfinished / f"{name}.npy", array, allow_pickle=False)
        unfinished.rename(folder)
    except OSError:
        if not folder.is_dir():  # Otherwise another process was first: its copy is as good.
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
