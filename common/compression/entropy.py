"""What an update weighs at least, if its positions are as good as random and its values too."""

from collections.abc import Mapping
from math import lgamma, log

from common.compression.quantisers import Quantiser, row_starts
from common.compression.sparse import SparseTensor


def information_bound(tensors: Mapping[str, SparseTensor], quantiser: Quantiser) -> float:
    """Return the bytes that say which entries of each tensor are sent, and their values.

    All sets of as many positions being equally likely, that is the sum over the tensors of
    log2 C(n, k) / 8 for k of n entries, and of what the quantiser makes of the values, with scales.
    A tensor that is sent whole (``indices`` None) needs no positions.
    """
    return sum(_tensor_bound(tensor, quantiser) for tensor in tensors.values())


def index_bound(size: int, count: int) -> float:
    """Return log2 C(size, count): the bits that say which ``count`` entries are sent."""
    return (lgamma(size + 1) - lgamma(count + 1) - lgamma(size - count + 1)) / log(2)


def _tensor_bound(tensor: SparseTensor, quantiser: Quantiser) -> float:
    rows = row_starts(tensor.indices, tensor.shape, quantiser.scale)
    values = quantiser.num_bytes(tensor.count, len(rows))
    return values + (0.0 if tensor.indices is None else index_bound(tensor.size, tensor.count) / 8)
