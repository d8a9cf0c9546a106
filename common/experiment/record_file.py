"""Flower's records as one safetensors file and back, to the bit.

Arrays are tensors of the file; everything else is JSON in its header, where a NaN has no sign.
Reading one runs no code, whoever wrote it.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from common.arrays import to_array, view

_HEADER: Final = "flowerbed"


class RecordFileError(ValueError):
    """The bytes are not those of a record file; the message says what is wrong."""


def to_bytes(content: RecordDict, about: Mapping[str, Any]) -> bytes:
    """Return the bytes of a record file.

    Args:
        content: The records; every array of a type that safetensors knows.
        about: What JSON can hold, kept beside the records.
    """
    tensors: dict[str, NDArray[Any]] = {}
    records: dict[str, Any] = {}
    for name, record in content.items():
        if isinstance(record, ArrayRecord):
            records[name] = {"arrays": list(record)}
            for key, array in record.items():
                # In C order, whatever the array's: safetensors takes bytes as they lie in memory.
                tensors[_tensor_name(name, key)] = np.asarray(view(array), order="C")
        else:
            kind = "metrics" if isinstance(record, MetricRecord) else "config"
            records[name] = {kind: {key: _to_json(value) for key, value in record.items()}}
    header = json.dumps({"about": about, "records": records})
    return save(tensors, metadata={_HEADER: header})


def from_bytes(data: bytes) -> tuple[RecordDict, dict[str, Any]]:
    """Return the records, and what was kept beside them.

    Raises:
        RecordFileError: These are not the bytes of a record file.
    """
    try:
        header = json.loads(_metadata(data)[_HEADER])
        tensors = load(data)
        content = RecordDict()
        for name, stored in header["records"].items():
            ((kind, values),) = stored.items()
            content[name] = _record(name, kind, values, tensors)
        about: dict[str, Any] = dict(header["about"])
        return content, about
    except (SafetensorError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise RecordFileError(f"{type(error).__name__}: {error!s:.100}") from None
    except RecursionError:
        raise RecordFileError("its header is nested too deeply") from None


def _record(
    name: str, kind: str, values: Any, tensors: Mapping[str, Any]
) -> ArrayRecord | MetricRecord | ConfigRecord:
    if kind == "arrays":
        if len(set(values)) < len(values):  # Each would be a copy of a tensor.
            raise ValueError("an array is there twice")
        return ArrayRecord({key: to_array(tensors[_tensor_name(name, key)]) for key in values})
    plain = {key: _from_json(value) for key, value in values.items()}
    if kind == "metrics":
        return MetricRecord(plain)
    if kind == "config":
        return ConfigRecord(plain)
    raise ValueError(f"there is no record of kind {kind!r:.50}")


def _metadata(data: bytes) -> dict[str, str]:
    """Return the metadata of a safetensors file, which starts with the length of its header."""
    length = int.from_bytes(data[:8], "little")
    if length > len(data) - 8:
        raise ValueError("it is shorter than its header says")
    metadata: dict[str, str] = json.loads(data[8 : 8 + length])["__metadata__"]
    return metadata


def _tensor_name(record: str, key: str) -> str:
    return f"{quote(record, safe='')}/{key}"


def _to_json(value: Any) -> Any:
    """Return a number, a string, or a list of them as it is; bytes as what JSON can hold."""
    if isinstance(value, list):
        return [_to_json(item) for item in value]
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    return value


def _from_json(value: Any) -> Any:
    if isinstance(value, list):
        return [_from_json(item) for item in value]
    if isinstance(value, dict):
        return base64.b64decode(value["base64"], validate=True)
    return value
