"""Data sets as stored: parquet files in the Hugging Face schema, on disk or from the hub."""

import errno
import hashlib
import os
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from common.errors import UserInputError

# More than any data set that is decoded as a whole has. Ten bytes of a parquet file can stand
# for any number of equal rows.
MOST_ROWS = 2_000_000
MOST_BYTES = 2**29
# A page of a column's distinct values; pyarrow puts up to 1024 of them into one.
MOST_DICTIONARY_BYTES = 2**26
# Rows read at a time, and what they may take if each of them has its dictionaries' longest value:
# what a file asks for is noticed before it takes much memory.
_BATCH = 256
_BATCH_BYTES = 2**26
# About what a batch takes besides its values.
_BATCH_OVERHEAD = 4096

# Of the parquet format: kinds of pages that hold values, with the place of their own header in
# the page's, and of the encoding in that one.
_DICTIONARY_PAGE = 2
_DATA_PAGES = {0: (5, 2), 3: (8, 4)}
# PLAIN, PLAIN_DICTIONARY, RLE and RLE_DICTIONARY: in any of the others a page can stand for
# far more bytes than it has.
_ENCODINGS = {0, 2, 3, 8}


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
    if table.num_rows == 0:
        raise _refused(name, source, "must have at least one row")
    return Split(name, source, table)


def _refused(name: str, source: str, rule: str) -> UserInputError:
    return UserInputError(f"dataset={name!r} cannot be loaded: {source!r} {rule}.")


def _read_parquet(name: str, file: Path, columns: Sequence[str]) -> pa.Table:
    try:
        if file.exists() and not file.is_file():  # To open a pipe would be to wait for its writer.
            raise OSError(errno.EINVAL, "it is no file")
        with file.open("rb") as stream:
            parquet = pq.ParquetFile(stream, page_checksum_verification=True)
            leaves = _leaves(parquet.schema, columns)
            rows = _rows_at_a_time(stream, parquet.metadata, list(leaves.values()))
            batches = list(_up_to_limits(parquet.iter_batches(rows, columns=list(leaves))))
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


def _rows_at_a_time(stream: BinaryIO, metadata: pq.FileMetaData, leaves: Sequence[int]) -> int:
    """Return how many rows of a file can be read at a time in little memory.

    What the file's metadata says of sizes is not verified by Arrow, but what the header of each
    page says is, as soon as the page is decompressed. So the headers are gone through beforehand.

    Args:
        stream: The file.
        metadata: Its metadata.
        leaves: The columns that are to be read, by their places in the schema.

    Raises:
        _NotAllowedError: The columns take too much memory whatever the number of rows, or are
            encoded in a way that does not tell.
        Exception: The file is damaged.
    """
    unread = os.fstat(stream.fileno()).st_size
    size = most_shared = 0
    for group in range(metadata.num_row_groups):
        shared = 0
        for leaf in leaves:
            chunk = metadata.row_group(group).column(leaf)
            unread -= chunk.total_compressed_size
            if unread < 0:  # Chunks that overlap could be many more than the file has bytes.
                raise ValueError
            for kind, page_size in _pages(stream, chunk):
                size += page_size
                shared += page_size if kind == _DICTIONARY_PAGE else 0
        most_shared = max(most_shared, shared)
        if size > MOST_BYTES:
            raise _too_much()
    if most_shared > MOST_DICTIONARY_BYTES:
        mebibytes = MOST_DICTIONARY_BYTES // 2**20
        raise _NotAllowedError(f"must have dictionaries of at most {mebibytes} MiB")
    return max(1, min(_BATCH, _BATCH_BYTES // max(1, most_shared)))


def _pages(stream: BinaryIO, chunk: pq.ColumnChunkMetaData) -> Iterator[tuple[int, int]]:
    """Yield the kind and the uncompressed size in bytes of each page of a column chunk.

    Raises:
        _NotAllowedError: A page's encoding is none of the allowed ones.
        Exception: What is there is no page.
    """
    if chunk.num_values == 0:  # Then there need be no page, and none is read.
        return
    position = chunk.data_page_offset
    if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < position:
        position = chunk.dictionary_page_offset
    end = position + chunk.total_compressed_size
    while position < end:
        stream.seek(position)
        header = _thrift_struct(stream)
        kind, size, compressed_size = header[1], header[2], header[3]
        if not (0 <= size < 2**31 and 0 <= compressed_size < 2**31):
            raise ValueError
        if kind in _DATA_PAGES:
            own, encoding = _DATA_PAGES[kind]
            if header[own][encoding] not in _ENCODINGS:
                raise _NotAllowedError("must be encoded with PLAIN or RLE_DICTIONARY")
        yield kind, size
        position = stream.tell() + compressed_size


def _thrift_struct(stream: BinaryIO) -> dict[int, Any]:
    """Read the integers and structs of a struct in Thrift's compact protocol, by field number.

    Only what page headers are made of is known, and each field must come after those of lower
    numbers, as all writers have it: so that no other reader finds another value.

    Raises:
        Exception: It is something else.
    """
    fields: dict[int, Any] = {}
    number = 0
    while head := stream.read(1)[0]:
        step, kind = divmod(head, 16)
        number += step
        if step == 0:
            raise ValueError
        if kind in (5, 6):  # An integer of 32 or 64 bits, its sign in the lowest bit.
            value = _varint(stream)
            fields[number] = value >> 1 ^ -(value & 1)
        elif kind == 8:  # Bytes.
            stream.seek(_varint(stream), os.SEEK_CUR)
        elif kind == 12:
            fields[number] = _thrift_struct(stream)
        elif kind not in (1, 2):  # True and False, of which nothing follows.
            raise ValueError
    return fields


def _varint(stream: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = stream.read(1)[0]
        value |= (byte & 127) << shift
        if byte < 128:
            return value
    raise ValueError


def _up_to_limits(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    rows = size = 0
    for batch in batches:
        rows += batch.num_rows
        size += batch.nbytes + _BATCH_OVERHEAD
        if rows > MOST_ROWS or size > MOST_BYTES:
            raise _too_much()
        yield batch


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
