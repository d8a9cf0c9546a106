"""A model's weights as Flower's arrays and back, without a needless copy.

Flower's ``Array`` holds the bytes of a .npy file. Its own conversions copy them twice and parse
the header of every array anew, which costs more than the whole local training of a small model.
"""

from collections.abc import Mapping
from functools import lru_cache
from io import BytesIO
from typing import Any

import numpy as np
import torch
from flwr.app import Array, ArrayRecord
from numpy.typing import NDArray
from torch import Tensor, nn

# A .npy file of version 1.0: six bytes of magic, two of version, two of the header's length.
_PREAMBLE = 10


def to_arrays(model: nn.Module | Mapping[str, Tensor]) -> ArrayRecord:
    """Return the state of a model, parameters and buffers, as Flower's ``ArrayRecord`` would.

    Args:
        model: On any device; tensors, of any shapes and memory formats, arrive in C order. Or the
            part of its ``state_dict()`` that is to travel.
    """
    return ArrayRecord(
        {key: to_array(tensor.cpu().numpy()) for key, tensor in _state(model).items()}
    )


def load_arrays(model: nn.Module | Mapping[str, Tensor], arrays: ArrayRecord) -> None:
    """Overwrite the state of a model, in place: nothing is allocated, memory formats stay.

    Args:
        model: Its state has the keys and the shapes of ``arrays``. Or the part of its
            ``state_dict()`` that has; the rest stays.
        arrays: What :func:`to_arrays` made of such a model.

    Raises:
        ValueError: Keys or shapes are not those of the model.
    """
    state = _state(model)
    if state.keys() != arrays.keys():
        raise ValueError(f"the arrays are {sorted(arrays)}, but the model has {sorted(state)}")
    for key, tensor in state.items():
        w = view(arrays[key])
        if w.shape != tensor.shape:
            raise ValueError(f"{key} has shape {w.shape}, but the model's is {tensor.shape}")
        if tensor.device.type == "cpu":
            np.copyto(tensor.numpy(), w)
        else:
            tensor.copy_(torch.from_numpy(w.copy()))  # PyTorch wants memory that may be written.


def _state(model: nn.Module | Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    return model.state_dict() if isinstance(model, nn.Module) else model


def join(*parts: Mapping[str, Array]) -> ArrayRecord:
    """Return a record of all arrays of some, none of them copied.

    ``ArrayRecord``'s own initialiser refuses what a worker sent: there, an array's bytes are a view
    of shared memory.
    """
    record = ArrayRecord()
    for arrays in parts:
        record.update(arrays)
    return record


def to_array(w: NDArray[Any]) -> Array:
    """Return what ``Array(w)`` does for a w of any shape in C order, byte for byte."""
    w = np.asarray(w, order="C")
    content = w.reshape(-1).view(np.uint8).data
    header = _npy_header(w.dtype, w.shape)
    return Array(str(w.dtype), w.shape, "numpy.ndarray", b"".join((header, content)))


def view(array: Array) -> NDArray[Any]:
    """Return what ``array.numpy()`` does as a read-only view of the array's own bytes.

    Returns:
        In the shape and type that the header names.

    Raises:
        ValueError: The bytes are not those of a .npy file of version 1.0.
    """
    data = memoryview(array.data)
    start = _PREAMBLE + int.from_bytes(data[_PREAMBLE - 2 : _PREAMBLE], "little")
    dtype, shape, is_fortran = _parse_npy_header(bytes(data[:start]))
    w = np.frombuffer(data, dtype, offset=start)
    return w.reshape(shape[::-1]).T if is_fortran else w.reshape(shape)


# Models have few shapes and see them in every round: the headers are worth keeping.
@lru_cache(maxsize=4096)
def _npy_header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    file = BytesIO()
    descr = np.lib.format.dtype_to_descr(dtype)
    np.lib.format.write_array_header_1_0(
        file, {"descr": descr, "fortran_order": False, "shape": shape}
    )
    return file.getvalue()


@lru_cache(maxsize=4096)
def _parse_npy_header(header: bytes) -> tuple[np.dtype[Any], tuple[int, ...], bool]:
    file = BytesIO(header)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError(f"an array's bytes start with {header[:8]!r}: not .npy of version 1.0")
    shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(file)
    return dtype, shape, is_fortran
