"""Arrays between processes of one machine without a copy on the way in."""

import pickle
from collections.abc import Callable
from typing import Any

from flwr.app import Array, RecordDict
from ray.util import register_serializer

_Packed = tuple[str, tuple[int, ...], str, pickle.PickleBuffer]


def share_arrays() -> None:
    """Let Ray keep the bytes of Flower's arrays beside the pickle, in shared memory.

    The receiver's arrays are then read-only views of the object store, instead of copies of
    copies. Call it in every process that sends arrays, once Ray runs.
    """
    register: Callable[..., None] = register_serializer
    register(Array, serializer=_pack, deserializer=_unpack)


def take_out(content: RecordDict) -> RecordDict:
    """Copy the arrays of a content that is to be kept out of shared memory, in place.

    Otherwise they would hold on to all that arrived together with them.

    Returns:
        The content.
    """
    for record in content.array_records.values():
        for array in record.values():
            array.data = bytes(array.data)
    return content


def _pack(array: Array) -> _Packed:
    return array.dtype, array.shape, array.stype, pickle.PickleBuffer(array.data)


def _unpack(packed: tuple[str, tuple[int, ...], str, Any]) -> Array:
    # Array's initialiser insists on bytes, which would be a copy.
    array = Array.__new__(Array)
    array.dtype, array.shape, array.stype, array.data = packed
    return array
