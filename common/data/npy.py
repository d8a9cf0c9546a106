"""Arrays on disk that are written part by part, and are never in memory as a whole."""

import math
import os
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray


class Layout(NamedTuple):
    """What an array of examples is.

    Attributes:
        dtype: Type of its elements.
        example_shape: Its shape but for the first axis, which counts the examples.
    """

    dtype: type[np.generic]
    example_shape: tuple[int, ...]

    @property
    def example_bytes(self) -> int:
        """Size of one example, in bytes."""
        return np.dtype(self.dtype).itemsize * math.prod(self.example_shape)


class NpyWriter:
    """Writes a ``.npy`` file whose number of examples is known in the end, in a ``with`` block.

    The file is on the disk when the block has ended without an exception; before, it is none that
    can be read. What cannot be written raises OSError.

    Args:
        path: The file, made anew.
        layout: What the array is.
    """

    def __init__(self, path: Path, layout: Layout) -> None:
        self._layout = layout
        self._num_examples = 0
        self._file = path.open("wb")

    def __enter__(self) -> Self:
        self._write_header()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._file:
            if error is None:
                self._file.seek(0)
                self._write_header()
                self._file.flush()
                os.fsync(self._file.fileno())

    def append(self, examples: NDArray[Any]) -> None:
        """Add examples to the end of the array.

        Args:
            examples: Of the layout promised, shape [examples, ...].

        Raises:
            ValueError: They are of another layout.
        """
        if Layout(examples.dtype.type, examples.shape[1:]) != self._layout:
            raise ValueError(f"{examples.dtype} {examples.shape[1:]} is not {self._layout}")
        self._file.write(np.ascontiguousarray(examples).data)
        self._num_examples += len(examples)

    def _write_header(self) -> None:
        # NumPy pads it, so that it is as long whatever the number of examples.
        header = {
            "descr": np.lib.format.dtype_to_descr(np.dtype(self._layout.dtype)),
            "fortran_order": False,
            "shape": (self._num_examples, *self._layout.example_shape),
        }
        np.lib.format.write_array_header_1_0(self._file, header)
