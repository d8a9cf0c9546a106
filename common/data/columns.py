"""Columns of a stored split -> arrays, every value of them checked."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from common.data.png import decode_png
from common.data.store import Split

_IN_WORDS = {"L": "8-bit grey", "RGB": "8-bit RGB"}


def decode_labels(split: Split, column: str, num_classes: int) -> NDArray[np.int64]:
    """Return the labels of a split, shape [rows], all of them 0..num_classes-1.

    Raises:
        UserInputError: There is no such column, or a label that is not allowed.
    """
    stored = _column(split.table, column)
    if stored is None or not pa.types.is_integer(stored.type):
        raise split.refused(f"must have one column {column!r} of integers")
    _refuse_nulls(split, stored, column)
    labels: NDArray[np.integer] = stored.to_numpy()
    wrong = (labels < 0) | (labels >= num_classes)
    if wrong.any():
        row = int(wrong.argmax())
        raise split.refused(
            f"must have labels from 0 to {num_classes - 1} in the column {column!r}, and row "
            f"{split.first_row + row} (counted from 0) has {labels[row]}"
        )
    return labels.astype(np.int64)


def decode_texts(split: Split, column: str) -> tuple[str, ...]:
    """Return the texts of a split, of which some may be empty.

    Raises:
        UserInputError: There is no such column, or a text that is not allowed.
    """
    stored = _column(split.table, column)
    if stored is None or not _holds_texts(stored.type):
        raise split.refused(f"must have one column {column!r} of strings")
    _refuse_nulls(split, stored, column)
    texts = []
    # Arrow takes a file's word for it that these bytes are UTF-8.
    for row, encoded in enumerate(stored.cast(pa.large_binary()).to_pylist()):
        try:
            texts.append(encoded.decode())
        except UnicodeDecodeError:
            raise split.refused(
                f"must have UTF-8 in the column {column!r}, and row {split.first_row + row} "
                "(counted from 0) has bytes that are not"
            ) from None
    return tuple(texts)


def decode_images(
    split: Split,
    column: str,
    mode: str,
    height: int,
    width: int,
    rows: Sequence[int] | None = None,
) -> NDArray[np.uint8]:
    """Return images of a split, shape [rows, height, width] and, if in colour, channels.

    Args:
        split: Holds PNGs in the Hugging Face schema, structs with the field ``bytes``.
        column: Name of the images' column.
        mode: What all images must be in Pillow's terms, "L" or "RGB".
        height: In pixels, of all images.
        width: In pixels, of all images.
        rows: Which to decode, in this order; all if None. The others must be there, but what they
            are is not looked at.

    Raises:
        UserInputError: There is no such column, or an image that is not allowed.
    """
    encoded = encoded_images(split, column)
    channels = () if mode == "L" else (len(mode),)
    chosen = range(len(encoded)) if rows is None else rows
    images = np.empty((len(chosen), height, width, *channels), dtype=np.uint8)
    for i, row in enumerate(chosen):  # One after the other: together they may be large.
        try:
            images[i] = decode_png(encoded[row].as_py(), mode, height, width)
        except ValueError as problem:
            raise split.refused(
                f"must have whole PNGs of {height} x {width} pixels in {_IN_WORDS[mode]} in the "
                f"column {column!r}, and row {split.first_row + row} (counted from 0) is {problem}"
            ) from None
    return images


def encoded_images(split: Split, column: str) -> pa.ChunkedArray:
    """Return the encoded images of a split, binary, none of them missing.

    Args:
        split: Holds images in the Hugging Face schema, structs with the field ``bytes``.
        column: Name of the images' column.

    Raises:
        UserInputError: There is no such column, or a row has no image.
    """
    stored = _column(split.table, column)
    if stored is None or not _holds_bytes(stored.type):
        raise split.refused(f"must have one column {column!r} of structs with binary 'bytes'")
    encoded = pc.struct_field(stored, "bytes")
    _refuse_nulls(split, encoded, column)
    return encoded


def _column(table: pa.Table, name: str) -> pa.ChunkedArray | None:
    """Return a column; None if there is none of that name, or more than one."""
    position = table.schema.get_field_index(name)
    return None if position < 0 else table.column(position)


def _holds_texts(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _holds_bytes(kind: pa.DataType) -> bool:
    if not pa.types.is_struct(kind) or kind.get_field_index("bytes") < 0:
        return False
    field = kind.field("bytes").type
    return bool(pa.types.is_binary(field) or pa.types.is_large_binary(field))


def _refuse_nulls(split: Split, values: pa.ChunkedArray, column: str) -> None:
    if values.null_count:
        row = pc.index(values.is_null(), True).as_py()
        raise split.refused(
            f"must have a value in every row of the column {column!r}, and row "
            f"{split.first_row + row} (counted from 0) has none"
        )
