"""Parquet files of unknown origin -> batches of rows, in little memory whatever they hold."""

import errno
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

# More than any data set has. A few bytes of a parquet file can stand for any number of equal rows.
MOST_ROWS = 2_000_000
# Of a data set that is read as a whole.
MOST_BYTES = 2**29
# Few, for there is no knowing before how large they are; together they may have so many bytes.
_BATCH = 4
MOST_BATCH_BYTES = 2**27
# Numbers are not large.
_BATCH_OF_NUMBERS = 2**16
_BUFFER_BYTES = 2**20


class NotAllowedError(Exception):
    """What is wrong with a file; the message says what it must be."""


def read_table(file: Path, columns: Sequence[str]) -> pa.Table:
    """Return all rows of a file, at least one.

    Args:
        file: Where it is, if it is there.
        columns: What to read of it, a field of a struct as "column.field". Those that it does not
            have, or that are not safe to read, are not in the table, either.

    Raises:
        NotAllowedError: It cannot be read, or has no rows, or more or larger ones than are read.
    """
    batches = []
    size = 0
    for batch in read_batches(file, columns):
        batches.append(batch)
        size += batch.nbytes
        if size > MOST_BYTES:
            mebibytes = MOST_BYTES // 2**20
            raise NotAllowedError(f"must have at most {mebibytes:,} MiB of rows")
    if not batches:
        raise NotAllowedError("must have at least one row")
    return pa.Table.from_batches(batches)


def read_batches(file: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yield all rows of a file, few at a time and so in little memory, whatever its size.

    Args:
        file: Where it is, if it is there.
        columns: As of :func:`read_table`.

    Raises:
        NotAllowedError: It cannot be read, or has more or larger rows than are read.
    """
    num_rows = 0
    try:
        if file.exists() and not file.is_file():  # To open a pipe would be to wait for its writer.
            raise OSError(errno.EINVAL, "it is no file")
        with file.open("rb") as stream:
            for batch in _batches(stream, columns):
                num_rows += batch.num_rows
                if num_rows > MOST_ROWS:
                    raise NotAllowedError(f"must have at most {MOST_ROWS:,} rows")
                if batch.nbytes > MOST_BATCH_BYTES:
                    mebibytes = MOST_BATCH_BYTES // 2**20
                    raise NotAllowedError(f"must have at most {mebibytes:,} MiB in {_BATCH} rows")
                if batch.num_rows > 0:
                    yield batch
    except NotAllowedError:
        raise
    except Exception as error:  # Arrow raises a dozen unrelated types for a damaged file.
        raise not_readable(error) from None


def _batches(stream: BinaryIO, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    parquet = pq.ParquetFile(
        stream,
        page_checksum_verification=True,
        # Otherwise Arrow reads a column of a row group at once.
        buffer_size=_BUFFER_BYTES,
        pre_buffer=False,
    )
    # Of the metadata of row groups and columns nothing is asked: where that is damaged, pyarrow
    # ends the process.
    schema = parquet.schema
    leaves = _leaves(schema, columns)
    is_large = any(schema.column(leaf).physical_type == "BYTE_ARRAY" for leaf in leaves.values())
    batch_rows = _BATCH if is_large else _BATCH_OF_NUMBERS
    # Arrow cannot put what it reads of several row groups into one batch if that is nested.
    for group in range(parquet.num_row_groups):
        yield from parquet.iter_batches(batch_rows, row_groups=[group], columns=list(leaves))


def not_readable(error: Exception) -> NotAllowedError:
    """Return what is said of a file that could not be read."""
    return NotAllowedError(f"must be a parquet file, whole and readable ({reason(error)})")


def reason(error: Exception) -> str:
    """Return the system's words for what failed, or the type of an error that has none."""
    return getattr(error, "strerror", None) or type(error).__name__


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
