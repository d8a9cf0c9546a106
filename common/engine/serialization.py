"""Arrays between processes of one machine without a copy on the way in."""

import pickle
from collections.abc import Callable
from typing import Any

from flwr.app import Array
from ray.util import register_serializer

_Packed = tuple[str, tuple[int, ...], str, pickle.PickleBuffer]


def share_arrays() -> None:
    """Let Ray keep the bytes of Flower's arrays beside the pickle, in shared memory.

    The receiver's arrays are then read-only views of the object store, instead of copies of
    copies. Call it in every process that sends arrays, once Ray runs.
    """
    register: Callable[..., None] = register_serializer
    register(Array, serializer=_pack, deserializer=_unpack)


def _pack(array: Array) -> _Packed:
    return array.dtype, array.shape, array.stype, pickle.PickleBuffer(array.data)


def _unpack(packed: tuple[str, tuple[int, ...], str, Any]) -> Array:
    # Array's initialiser insists on bytes, which would be a copy.
    array = Array.__new__(Array)
    array.dtype, array.shape, array.stype, array.data = packed
    return array
