"""What a compressor drops is kept, and added to the next update (error feedback)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from common.compression.compressor import Compressed, Compressor
from common.compression.sparse import SparseTensor, Tensors

_PIECE = 1 << 16  # Entries that are squared at once.


@dataclass(frozen=True)
class Memory:
    """What a client keeps from one round in which it takes part to its next.

    Attributes:
        residual: What was not sent of each tensor, in its shape.
        momentum: The momentum of each tensor, in its shape; nothing without momentum.
    """

    residual: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    momentum: dict[str, NDArray[np.float32]] = field(default_factory=dict)


@dataclass(frozen=True)
class ErrorFeedback:
    """Compresses an update and all that was not sent before.

    Without momentum (Seide et al. 2014; Karimireddy et al. 2019, arXiv 1901.09847, algorithm 2),
    with v the residual and C the compressor::

        v = v + update;  sent = C(v);  v = v - sent

    With momentum m (momentum correction, Lin et al. 2018, arXiv 1712.01887, section 3.2)::

        u = m u + update;  v = v + u;  sent = C(v);  v = v - sent

    Without momentum all that was sent and the residual add up to all updates.

    Attributes:
        compressor: The compressor C. A random one sends its entries unscaled.
        momentum: m, in [0, 1).
        factor_masking: Set u = 0 where an entry was sent (there, section 3.3); nothing to do
            without momentum.
        clip_norm: The update is scaled to at most this l2 norm, over all tensors, before it is
            added (local gradient clipping; there, section 3.2, with N clients it is the norm
            allowed to their sum over sqrt(N)); inf to leave it as it is.
    """

    compressor: Compressor
    momentum: float = 0.0
    factor_masking: bool = False
    clip_norm: float = math.inf

    def compress(
        self, update: Tensors, memory: Memory, round: int, rng: np.random.Generator
    ) -> tuple[Compressed, Memory]:
        """Compress an update with what the memory holds, and return the memory of the next.

        Update and memory stay as they are; nothing returned shares their arrays.

        Args:
            update: Delta_k = w_k - w_t, of any shapes.
            memory: Of this client, as returned last; at first an empty one.
            round: From 1.
            rng: For random sparsifiers and stochastic rounding.

        Returns:
            What to send, and the memory for the client's next round.

        Raises:
            ValueError: The memory is of another model or of another error feedback, or a tensor is
                not finite.
        """
        self._require_memory_of(update, memory)
        scale = self._clip_factor(update)
        residual, momentum = {}, {}
        for name, values in update.items():
            u = np.array(values, order="C")
            if scale != 1:
                u *= scale
            if self.momentum:
                if memory.momentum:
                    u += np.float32(self.momentum) * memory.momentum[name]
                momentum[name] = u
            v = u.copy() if self.momentum else u
            if memory.residual:
                v += memory.residual[name]
            residual[name] = v

        compressed = self.compressor.compress(residual, round, rng)
        for name, sent in compressed.sent.items():
            _subtract(residual[name], sent)
            if self.momentum and self.factor_masking:
                _clear(momentum[name], sent)
        return compressed, Memory(residual, momentum)

    def _require_memory_of(self, update: Tensors, memory: Memory) -> None:
        if memory.residual or memory.momentum:
            _require_same("residual", memory.residual, update)
            _require_same("momentum", memory.momentum, update if self.momentum else {})

    def _clip_factor(self, update: Tensors) -> np.float32:
        if math.isinf(self.clip_norm):
            return np.float32(1)
        norm = _norm(update)
        # A norm that is not finite is left to the compressor, which names the tensor.
        return np.float32(self.clip_norm / norm if self.clip_norm < norm < math.inf else 1)


def _require_same(
    part: str, kept: Mapping[str, NDArray[np.float32]], update: Mapping[str, NDArray[np.float32]]
) -> None:
    kept_shapes = {name: values.shape for name, values in kept.items()}
    shapes = {name: values.shape for name, values in update.items()}
    if kept_shapes != shapes:
        raise ValueError(
            f"the memory's {part} has the shapes {kept_shapes}, but the update's are {shapes}"
        )


def _norm(update: Tensors) -> float:
    """Return the l2 norm of all tensors together, summed in float64 and in a fixed order."""
    total = 0.0
    for values in update.values():
        flat = values.reshape(-1)
        for start in range(0, len(flat), _PIECE):
            total += float(np.square(flat[start : start + _PIECE], dtype=np.float64).sum())
    return math.sqrt(total)


def _subtract(values: NDArray[np.float32], sent: SparseTensor) -> None:
    flat = values.reshape(-1)
    if sent.indices is None:
        flat -= sent.values
    else:
        flat[sent.indices] -= sent.values


def _clear(values: NDArray[np.float32], sent: SparseTensor) -> None:
    flat = values.reshape(-1)
    flat[slice(None) if sent.indices is None else sent.indices] = 0
