"""Data sets as stored: parquet files in the Hugging Face schema, on disk or from the hub."""

import hashlib
import os
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from common.data import parquet
from common.errors import UserInputError

# Rows that are read at once of a data set that is streamed from the hub's client.
_HUB_BATCH = 32


@dataclass(frozen=True)
class Split:
    """One split of a data set as stored, or some consecutive rows of it, images still encoded.

    Attributes:
        dataset: Name of the data set, the value of the key ``dataset``.
        source: The file, or the data set's name on the hub.
        table: The rows, at least one.
        first_row: Of the source, the row that is the first one of the table, counted from 0.
    """

    dataset: str
    source: str
    table: pa.Table
    first_row: int = 0

    def refused(self, rule: str) -> UserInputError:
        """Return the error that says what this split must be, and is not."""
        return refused(self.dataset, self.source, rule)


class StoredSplit(Protocol):
    """One split of a data set as stored, of any size."""

    @property
    def fingerprint(self) -> str:
        """Tells what is stored from anything else, without reading it."""

    def pieces(self, columns: Sequence[str]) -> Iterator[Split]:
        """Yield all rows, at least one, few at a time.

        Args:
            columns: What to read, a field of a struct as "column.field". Those that there are not
                are not in the tables, either; others may be.

        Raises:
            UserInputError: They cannot be read, or there are no rows.
        """


@dataclass(frozen=True)
class HubSplit:
    """A split on the Hugging Face hub.

    Attributes:
        repository: Name of the data set there.
        split: Name of the split there.
        config: Which of the data set's configurations, if it has several.
        files: Which files are the split's, a pattern, if the client would otherwise download
            those of all splits.
    """

    repository: str
    split: str
    config: str | None = None
    files: str | None = None


def load_split(name: str, hub_name: str, split: str, columns: Sequence[str]) -> Split:
    """Load one split of a data set from disk if it is there, else from the hub.

    Args:
        name: Folder below ``$FLOWERBED_DATA`` that may hold ``<split>.parquet``.
        hub_name: Name of the data set on the Hugging Face hub.
        split: Name of the split, e.g. "train".
        columns: What to read of the file, a field of a struct as "column.field". Those that it
            does not have are not in the table, either.

    Returns:
        Its rows, and where they come from.

    Raises:
        UserInputError: The split is neither on disk nor reachable, cannot be read, or has no rows.
    """
    file = find(Path(name) / f"{split}.parquet")
    if file is not None:
        source = str(file)
        try:
            table = parquet.read_table(file, columns)
        except parquet.NotAllowedError as error:
            raise refused(name, source, str(error)) from None
    else:
        hub = HubSplit(hub_name, split)
        places = f"at $FLOWERBED_DATA/{name}/{split}.parquet"
        table, source = _from_hub(name, hub, places)[:], f"{hub_name}/{split}"
        if table.num_rows == 0:
            raise refused(name, source, "must have at least one row")
    return Split(name, source, table)


def find_parquet(dataset: str, folder: str, split: str) -> StoredSplit | None:
    """Return a split that is on disk as parquet files, whole or not; None if there are none.

    Args:
        dataset: Value of the key ``dataset``.
        folder: Below ``$FLOWERBED_DATA``; may hold ``<split>.parquet`` or, as the hub's data sets
            are stored, ``<split>-00000-of-00014.parquet`` and so on.
        split: Name of the split, e.g. "validation".

    Raises:
        UserInputError: Some of those files are missing, or ``FLOWERBED_DATA`` is not a folder.
    """
    file = find(Path(folder) / f"{split}.parquet")
    if file is not None:
        return _ParquetFiles(dataset, (file,))
    parent = find(Path(folder))
    if parent is None or not parent.is_dir():
        return None
    files = sorted(parent.glob(f"{split}-{5 * '[0-9]'}-of-{5 * '[0-9]'}.parquet"))
    if not files:
        return None
    total = int(files[0].stem[-5:])
    wanted = {parent / f"{split}-{i:05}-of-{total:05}.parquet" for i in range(total)}
    if set(files) != wanted:
        name = min(set(files) ^ wanted).name
        raise refused(
            dataset,
            str(parent),
            f"must hold all {total} files of {split}-00000-of-{total:05}.parquet and so on, and no "
            f"others of that kind: {name!r} is {'one' if parent / name in files else 'missing'}",
        )
    return _ParquetFiles(dataset, tuple(files))


@dataclass(frozen=True)
class _ParquetFiles:
    dataset: str
    files: tuple[Path, ...]

    @property
    def fingerprint(self) -> str:
        return hashed(_identity(self.dataset, file) for file in self.files)

    def pieces(self, columns: Sequence[str]) -> Iterator[Split]:
        is_empty = True
        for file in self.files:
            first_row = 0
            try:
                for batch in parquet.read_batches(file, columns):
                    table = pa.Table.from_batches([batch])
                    yield Split(self.dataset, str(file), table, first_row)
                    first_row += batch.num_rows
                    is_empty = False
            except parquet.NotAllowedError as error:
                raise refused(self.dataset, str(file), str(error)) from None
        if is_empty:
            raise refused(self.dataset, str(self.files[0]), "must have at least one row")


class HubRows:
    """A stored split that is on the hub, downloaded once it is read.

    Args:
        dataset: Value of the key ``dataset``.
        hub: Where on the hub it is.
        places: Where else it could have been, for the error.
    """

    # What the hub has is not asked: a decoded copy must do without a network.
    fingerprint = "hub"

    def __init__(self, dataset: str, hub: HubSplit, places: str) -> None:
        self._dataset = dataset
        self._hub = hub
        self._places = places

    @cached_property
    def _rows(self) -> Any:
        return _from_hub(self._dataset, self._hub, self._places)

    def pieces(self, columns: Sequence[str]) -> Iterator[Split]:
        """Yield all rows, as documented for a stored split.

        Raises:
            UserInputError: The split is not reachable, or has no rows.
        """
        source = f"{self._hub.repository}/{self._hub.split}"
        names = {column.partition(".")[0] for column in columns}
        rows = self._rows.select_columns([n for n in self._rows.column_names if n in names])
        for first_row in range(0, len(rows), _HUB_BATCH):
            yield Split(self._dataset, source, rows[first_row : first_row + _HUB_BATCH], first_row)
        if len(rows) == 0:
            raise refused(self._dataset, source, "must have at least one row")


def refused(dataset: str, source: str, rule: str) -> UserInputError:
    """Return the error that says what the source of a data set must be, and is not."""
    return UserInputError(f"dataset={dataset!r} cannot be loaded: {source!r} {rule}.")


def _from_hub(dataset: str, hub: HubSplit, places: str) -> Any:
    """Return the rows of a split as the hub's client has them, slices of which are tables."""
    prepare_hub()
    import datasets

    options: dict[str, Any] = {}
    if hub.config is not None:
        options["name"] = hub.config
    if hub.files is not None:  # The client would miss the other splits.
        options |= {"data_files": {hub.split: hub.files}, "verification_mode": "no_checks"}
    try:
        rows = datasets.load_dataset(hub.repository, split=hub.split, **options)
        return rows.with_format("arrow")
    except Exception as error:  # The hub client raises a dozen unrelated types when offline.
        root = os.environ.get("FLOWERBED_DATA")
        raise UserInputError(
            f"dataset={dataset!r} cannot be loaded: it must be {places} (FLOWERBED_DATA is "
            f"{repr(root) if root else 'not set'}), or the Hugging Face hub must be reachable, "
            f"where it is {hub.repository!r} ({type(error).__name__})."
        ) from None


def prepare_hub() -> None:
    """Let the hub's client make do with what it has downloaded, if there is no network.

    Otherwise it would retry for half a minute. To be called before it is imported, for that is when
    it reads the variable.
    """
    if not _hub_is_reachable():
        os.environ["HF_HUB_OFFLINE"] = "1"


def _hub_is_reachable() -> bool:
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    try:
        with urllib.request.urlopen(endpoint, timeout=10):
            return True
    except (OSError, ValueError):
        return False


def fingerprint(name: str, splits: tuple[str, ...]) -> str:
    """Identify the files that a data set would be decoded from, without reading them.

    Returns:
        16 hexadecimal digits, others once a file changes.

    Raises:
        UserInputError: One of them cannot be reached.
    """
    files = [find(Path(name) / f"{split}.parquet") for split in splits]
    return hashed([name, *(_identity(name, file) if file else "hub" for file in files)])


def hashed(parts: Iterable[str]) -> str:
    """Return 16 hexadecimal digits that stand for some lines of text."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _identity(dataset: str, file: Path) -> str:
    try:
        status = file.stat()
    except OSError as error:
        raise refused(dataset, str(file), str(parquet.not_readable(error))) from None
    return f"{file.resolve()}:{status.st_size}:{status.st_mtime_ns}"


def find(place: Path) -> Path | None:
    """Return what is at a place below ``$FLOWERBED_DATA``, be it something to be read or not.

    Raises:
        UserInputError: ``FLOWERBED_DATA`` is not a folder that can be read.
    """
    root = os.environ.get("FLOWERBED_DATA")
    if not root:
        return None
    try:
        found = Path(root).expanduser() / place
        found.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, RuntimeError) as error:  # The latter if "~name" is nobody's home.
        raise UserInputError(
            f"FLOWERBED_DATA={root!r} is not allowed: it must be a folder that can be read "
            f"({parquet.reason(error)})."
        ) from None
    return found
