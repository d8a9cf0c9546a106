"""The bytes of encoded tensors as a record that travels in a message."""

from typing import Final

import numpy as np
from flwr.app import ArrayRecord

from common.arrays import to_array, view

_PAYLOAD: Final = "payload"


def to_record(payload: bytes) -> ArrayRecord:
    """Return a record that has nothing but a payload, as an array of its bytes."""
    return ArrayRecord({_PAYLOAD: to_array(np.frombuffer(payload, np.uint8))})


def of_record(record: ArrayRecord) -> memoryview:
    """Return the payload of a record.

    Raises:
        ValueError: It is no such record; the text goes on after the record's name.
    """
    if record.keys() != {_PAYLOAD}:
        raise ValueError(f"has {sorted(record)!s:.100}, not {_PAYLOAD!r} alone")
    try:
        payload = view(record[_PAYLOAD])
    except Exception as error:  # NumPy raises errors of many kinds at a header that is none.
        raise ValueError(f"is no array ({error!s:.80})") from None
    if payload.dtype != np.uint8 or payload.ndim != 1:
        raise ValueError(f"is {payload.dtype!s:.50}{list(payload.shape)!s:.100}, not bytes")
    return np.ascontiguousarray(payload).data
