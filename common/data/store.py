"""Data sets as stored: parquet files in the Hugging Face schema, on disk or from the hub."""

import errno
import hashlib
import os
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from common.errors import UserInputError

# More than any data set that is decoded as a whole has. A few bytes of a parquet file can stand for
# any number of equal rows.
MOST_ROWS = 2_000_000
MOST_BYTES = 2**29
# Few, for each of them may be large.
_BATCH = 32


@dataclass(frozen=True)
class Split:
    """One split of a data set as stored, its images still encoded.

    Attributes:
        dataset: Name of the data set, the value of the key ``dataset``.
        source: The file, or the data set's name on the hub.
        table: The rows, at least one.
    """

    dataset: str
    source: str
    table: pa.Table

    def refused(self, rule: str) -> UserInputError:
        """Return the error that says what this split must be, and is not."""
        return _refused(self.dataset, self.source, rule)


def load_split(name: str, hub_name: str, split: str, columns: Sequence[str]) -> Split:
    """Load one split of a data set from disk if it is there, else from the hub.

    Args:
        name: Folder below ``$FLOWERBED_DATA`` that may hold ``<split>.parquet``.
        hub_name: Name of the data set on the Hugging Face hub.
        split: Name of the split, e.g. "train".
        columns: What to read of the file, a field of a struct as "column.field". Those that it
            does not have are not in the table, either.

    Raises:
        UserInputError: The split is neither on disk nor reachable, cannot be read, or has no rows.
    """
    file = _local_file(name, split)
    if file is not None:
        table, source = _read_parquet(name, file, columns), str(file)
    else:
        table, source = _from_hub(name, hub_name, split), f"{hub_name}/{split}"
    if table.num_columns > 0 and table.num_rows == 0:
        raise _refused(name, source, "must have at least one row")
    return Split(name, source, table)


def _refused(name: str, source: str, rule: str) -> UserInputError:
    return UserInputError(f"dataset={name!r} cannot be loaded: {source!r} {rule}.")


def _read_parquet(name: str, file: Path, columns: Sequence[str]) -> pa.Table:
    try:
        if file.exists() and not file.is_file():  # To open a pipe would be to wait for its writer.
            raise OSError(errno.EINVAL, "it is no file")
        with file.open("rb") as stream:
            metadata = pq.read_metadata(stream)
            leaves = _leaves(metadata.schema, columns)
            # Of the metadata of row groups and columns nothing is asked: where that is damaged,
            # pyarrow ends the process.
            if metadata.num_rows > MOST_ROWS:
                raise _too_much()
            # Repeated values are read once, and expanded if there is room for them.
            dictionaries = [leaf for leaf in leaves if _is_bytes(metadata.schema, leaves[leaf])]
            parquet = pq.ParquetFile(
                stream,
                metadata=metadata,
                page_checksum_verification=True,
                read_dictionary=dictionaries,
            )
            batches = list(_expanded(_batches(parquet, list(leaves))))
            if not batches:
                return parquet.schema_arrow.empty_table()
            return pa.Table.from_batches(batches)
    except _NotAllowedError as error:
        raise _refused(name, str(file), str(error)) from None
    except Exception as error:  # Arrow raises a dozen unrelated types for a damaged file.
        rule = f"must be a parquet file, whole and readable ({_reason(error)})"
        raise _refused(name, str(file), rule) from None


class _NotAllowedError(Exception):
    """What is wrong with a file that may well be whole; the message says what it must be."""


def _too_much() -> _NotAllowedError:
    mebibytes = MOST_BYTES // 2**20
    return _NotAllowedError(f"must have at most {MOST_ROWS:,} rows and {mebibytes:,} MiB of them")


def _leaves(schema: pq.ParquetSchema, columns: Sequence[str]) -> dict[str, int]:
    """Return the place of each column that can be read, by name.

    Left out are those that are not there and those of which a single row can take any amount of
    memory: there is no reader of lists, nor of values of a fixed length, which have it when they
    are null, too.
    """
    leaves = {}
    paths = [schema.column(index).path for index in range(len(schema))]
    for name in columns:
        # As pyarrow does it: a name stands for everything below it.
        found = [i for i, path in enumerate(paths) if f"{path}.".startswith(f"{name}.")]
        if len(found) == 1 and paths[found[0]] == name:
            column = schema.column(found[0])
            if column.max_repetition_level == 0 and column.physical_type != "FIXED_LEN_BYTE_ARRAY":
                leaves[name] = found[0]
    return leaves


def _is_bytes(schema: pq.ParquetSchema, leaf: int) -> bool:
    return bool(schema.column(leaf).physical_type == "BYTE_ARRAY")


def _batches(parquet: pq.ParquetFile, leaves: Sequence[str]) -> Iterator[pa.RecordBatch]:
    # Arrow cannot put nested dictionaries of several row groups into one batch.
    for group in range(parquet.num_row_groups):
        yield from parquet.iter_batches(_BATCH, row_groups=[group], columns=leaves)


def _expanded(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield batches whose dictionaries are expanded, unless they are too large all together."""
    rows = size = 0
    for batch in batches:
        rows += batch.num_rows
        size += sum(_expanded_size(column) for column in batch.columns)
        if rows > MOST_ROWS or size > MOST_BYTES:
            raise _too_much()
        columns = [_expand(column) for column in batch.columns]
        yield pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _expanded_size(values: pa.Array) -> int:
    """Return the bytes that values take without dictionaries."""
    if pa.types.is_struct(values.type):
        return sum(_expanded_size(values.field(i)) for i in range(values.type.num_fields))
    if pa.types.is_dictionary(values.type):
        lengths = pc.take(pc.binary_length(values.dictionary), values.indices)
        return int(pc.sum(lengths).as_py() or 0) + int(values.indices.nbytes)
    return int(values.nbytes)


def _expand(values: pa.Array) -> pa.Array:
    if pa.types.is_struct(values.type):
        fields = [values.type.field(i).name for i in range(values.type.num_fields)]
        children = [_expand(values.field(i)) for i in range(len(fields))]
        return pa.StructArray.from_arrays(children, fields, mask=values.is_null())
    return values.dictionary_decode() if pa.types.is_dictionary(values.type) else values


def _from_hub(name: str, hub_name: str, split: str) -> pa.Table:
    if not _hub_is_reachable():
        # Only what the hub client has downloaded before; otherwise it would retry for half a
        # minute. The variable is read when the client is imported.
        os.environ["HF_HUB_OFFLINE"] = "1"
    import datasets

    try:
        return datasets.load_dataset(hub_name, split=split).with_format("arrow")[:]
    except Exception as error:  # The hub client raises a dozen unrelated types when offline.
        root = os.environ.get("FLOWERBED_DATA")
        raise UserInputError(
            f"dataset={name!r} cannot be loaded: it must be at $FLOWERBED_DATA/{name}/{split}"
            f".parquet (FLOWERBED_DATA is {repr(root) if root else 'not set'}), or the Hugging "
            f"Face hub must be reachable, where it is {hub_name!r} ({type(error).__name__})."
        ) from None


def _hub_is_reachable() -> bool:
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    try:
        with urllib.request.urlopen(endpoint, timeout=10):
            return True
    except (OSError, ValueError):
        return False


def fingerprint(name: str, splits: tuple[str, ...]) -> str:
    """Identify the files that a data set would be decoded from, without reading them.

    Raises:
        UserInputError: One of them cannot be reached.
    """
    parts = [name]
    for split in splits:
        local = _local_file(name, split)
        if local is None:
            parts.append("hub")
        else:
            try:
                status = local.stat()
            except OSError as error:
                rule = f"must be a parquet file, whole and readable ({_reason(error)})"
                raise _refused(name, str(local), rule) from None
            parts.append(f"{local.resolve()}:{status.st_size}:{status.st_mtime_ns}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _local_file(name: str, split: str) -> Path | None:
    """Return what is at the place for a split, be it a file that can be read or not."""
    root = os.environ.get("FLOWERBED_DATA")
    if not root:
        return None
    try:
        file = Path(root).expanduser() / name / f"{split}.parquet"
        file.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, RuntimeError) as error:  # The latter if "~name" is nobody's home.
        raise UserInputError(
            f"FLOWERBED_DATA={root!r} is not allowed: it must be a folder that can be read "
            f"({_reason(error)})."
        ) from None
    return file


def _reason(error: Exception) -> str:
    """Return the system's words for what failed, or the type of an error that has none."""
    return getattr(error, "strerror", None) or type(error).__name__
