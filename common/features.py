"""What frozen layers make of every example, computed once and kept on disk."""

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.data.cache import ArrayWriter, memory_mapped_in_parts
from common.data.npy import Layout
from common.data.progress import OnceProgress
from common.parallel import map_in_order
from common.threads import use_one_thread

Floats = NDArray[np.float32]
FrozenLayers = Callable[[Tensor], Floats]

_NAME: Final = "features"


def cached_features(
    make_frozen_layers: Callable[[], FrozenLayers],
    key: str,
    *,
    num_examples: int,
    num_rows: int,
    row_shape: tuple[int, ...],
    chunk: int,
) -> Floats:
    """Return the frozen layers' output for every example, memory-mapped.

    In evaluation mode it is a function of the example alone: once is enough for all clients, rounds
    and runs.

    Args:
        make_frozen_layers: Makes a function that returns the rows of some examples, one example
            behind the other, given their numbers, int64 [examples]; it runs in several threads.
            Called only if there are no features yet.
        key: Names examples, layers and weights; one with other features must have another.
        num_examples: How many there are.
        num_rows: How many rows they have in all; one each, or one for each token.
        row_shape: That of a row.
        chunk: Examples at a time; a feature's last digits may depend on it.

    Returns:
        float32, ``shape [num_rows, *row_shape]``.

    Raises:
        UserInputError: The cache folder cannot be used.
    """

    def run(writer: ArrayWriter) -> list[str]:
        frozen_layers = make_frozen_layers()  # Which may be refused.
        writer.require_space(num_rows)
        with OnceProgress("computing the frozen layers' features", num_examples) as progress:
            for examples, features in _features(frozen_layers, num_examples, chunk):
                writer.append({_NAME: features})
                progress.advance(examples)
        return []

    layouts = {_NAME: Layout(np.float32, row_shape)}
    return memory_mapped_in_parts(key, layouts, run).arrays[_NAME]


def _features(
    frozen_layers: FrozenLayers, num_examples: int, chunk: int
) -> Iterator[tuple[int, Floats]]:
    use_one_thread()

    def features_of(examples: Tensor) -> tuple[int, Floats]:
        with torch.inference_mode():
            return len(examples), np.ascontiguousarray(frozen_layers(examples))

    return map_in_order(features_of, torch.split(torch.arange(num_examples), chunk))
