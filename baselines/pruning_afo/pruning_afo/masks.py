"""Which entries of a model are kept, and which are pruned: zero, neither trained nor sent."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from torch import nn

Shapes = Mapping[str, tuple[int, ...]]


def prunable_parameters(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of the parameters that may be pruned.

    These are the weights of convolutions and linear layers, but not of the first convolution and
    the last linear layer: they are few, and what they see and tell apart is the whole input and all
    classes. Gale et al. 2019 (arXiv 1902.09574) and Evci et al. 2020 (arXiv 1911.11134) keep the
    first layer dense, too. Biases, norms and buffers are never pruned.

    Args:
        model: Its modules are in the order in which it applies them.

    Raises:
        ValueError: There is nothing left to prune.
    """
    # A class of PyTorch's own, but the only one that all convolutions have.
    convolutions, linear = [], []
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.conv._ConvNd):
            convolutions.append(f"{name}.weight")
        elif isinstance(module, nn.Linear):
            linear.append(f"{name}.weight")
    is_prunable = {*convolutions[1:], *linear[:-1]}
    shapes = {name: tuple(w.shape) for name, w in model.named_parameters() if name in is_prunable}
    if not shapes:
        raise ValueError(
            "the model has nothing to prune: it must have convolutions beside the first, or linear "
            "layers beside the last"
        )
    return shapes


@dataclass(frozen=True)
class Mask:
    """The entries that are kept of each parameter that may be pruned.

    A tensor is *packed* when it has its kept entries alone, shape [kept], in the order of the
    raveled tensor. Parameters that the mask does not know are never pruned: packed or not, they
    are the same.

    Attributes:
        is_kept: By name, True where an entry is kept; in the parameter's shape.
    """

    is_kept: Mapping[str, NDArray[np.bool_]]

    @classmethod
    def full(cls, shapes: Shapes) -> Self:
        """Return the mask that keeps everything."""
        return cls({name: np.ones(shape, np.bool_) for name, shape in shapes.items()})

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the parameters."""
        return {name: kept.shape for name, kept in self.is_kept.items()}

    @property
    def counts(self) -> dict[str, int]:
        """Entries kept of each parameter."""
        return {name: int(np.count_nonzero(kept)) for name, kept in self.is_kept.items()}

    @property
    def size(self) -> int:
        """Entries that may be pruned."""
        return sum(kept.size for kept in self.is_kept.values())

    @property
    def density(self) -> float:
        """Share of the entries that may be pruned that is kept."""
        return sum(self.counts.values()) / self.size

    def difference(self, other: "Mask") -> int:
        """Return the number of entries that one mask keeps and the other does not."""
        return sum(
            int(np.count_nonzero(kept != other.is_kept[name]))
            for name, kept in self.is_kept.items()
        )

    def packed_shapes(self, shapes: Shapes) -> dict[str, tuple[int, ...]]:
        """Return the shapes that tensors of these shapes have when they are packed."""
        counts = self.counts
        return {
            name: (counts[name],) if name in counts else shape for name, shape in shapes.items()
        }

    def pack(self, tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return tensors of a model packed."""
        return {
            name: tensor[self.is_kept[name]] if name in self.is_kept else tensor
            for name, tensor in tensors.items()
        }

    def unpack(self, packed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return packed tensors in their shapes, 0 where entries are pruned."""
        return {
            name: _spread(values, self.is_kept[name]) if name in self.is_kept else values
            for name, values in packed.items()
        }

    def apply(self, tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return tensors of a model with pruned entries set to 0; others are not copied."""
        return {
            name: np.where(self.is_kept[name], tensor, tensor.dtype.type(0))
            if name in self.is_kept
            else tensor
            for name, tensor in tensors.items()
        }


def uniform_counts(shapes: Shapes, density: float) -> dict[str, int]:
    """Return the entries to keep of each parameter, the same share of all of them.

    Args:
        shapes: Of the parameters.
        density: In (0, 1]; of each parameter at least one entry is kept, lest no signal passes.
    """
    return {name: _count(math.prod(shape), density) for name, shape in shapes.items()}


def erdos_renyi_counts(shapes: Shapes, density: float) -> dict[str, int]:
    """Return the entries to keep of each parameter, relatively fewer of large ones.

    The density of a parameter is proportional to the sum of its dimensions over their product
    (Erdos-Renyi-Kernel of Evci et al. 2020, arXiv 1911.11134, section 3), or 1 where that is more;
    the factor is such that the density of all is the one asked for.

    Args:
        shapes: Of the parameters.
        density: Of all parameters together, in (0, 1]; of each at least one entry is kept.
    """
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    dense: set[str] = set()
    while True:
        rest = [name for name in shapes if name not in dense]
        kept = density * sum(sizes.values()) - sum(sizes[name] for name in dense)
        # Of a rest that is dense, too, there is no factor to find.
        factor = kept / max(sum(sum(shapes[name]) for name in rest), 1)
        full = {name for name in rest if factor * sum(shapes[name]) >= sizes[name]}
        if not full:
            break
        dense |= full
    return {
        name: size if name in dense else _count(size, factor * sum(shapes[name]) / size)
        for name, size in sizes.items()
    }


def _count(size: int, density: float) -> int:
    return max(1, round(density * size))


def _spread(values: NDArray[Any], is_kept: NDArray[np.bool_]) -> NDArray[Any]:
    tensor = np.zeros(is_kept.shape, values.dtype)
    tensor[is_kept] = values
    return tensor


def mask_of_indices(shapes: Shapes, indices: Sequence[NDArray[np.int64]]) -> Mask:
    """Return the mask that keeps these entries.

    Args:
        shapes: Of the parameters.
        indices: Positions in each raveled parameter, in the order of ``shapes``.
    """
    is_kept = {}
    for (name, shape), kept in zip(shapes.items(), indices, strict=True):
        is_kept[name] = np.zeros(shape, np.bool_)
        is_kept[name].reshape(-1)[kept] = True
    return Mask(is_kept)
