"""An update to a payload: what is sent of it, and how."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from common.compression import wire
from common.compression.density import DensitySchedule
from common.compression.options import QuantiserName, Rounding, ScaleOf, SparsifierName
from common.compression.quantisers import (
    BFloat16,
    Float16,
    Float32,
    Int8,
    Quantiser,
    Sign,
)
from common.compression.sparse import SparseTensor, Tensors
from common.compression.sparsifiers import (
    GlobalTopK,
    Keep,
    RandomK,
    Sparsifier,
    Threshold,
    TopK,
)
from common.finite import is_finite


@dataclass(frozen=True)
class Compressed:
    """A compressed update.

    Attributes:
        payload: What travels; :func:`common.compression.wire.decode` reads it.
        sent: The entries that the sparsifier chose, with the values that the receiver decodes; the
            receiver has zeros elsewhere.
    """

    payload: bytes
    sent: dict[str, SparseTensor]


@dataclass(frozen=True)
class Compressor:
    """Sends the entries that a sparsifier chooses, as a quantiser writes them.

    Attributes:
        sparsifier: Chooses the entries.
        quantiser: Rounds and writes their values.
    """

    sparsifier: Sparsifier
    quantiser: Quantiser

    def compress(self, update: Tensors, round: int, rng: np.random.Generator) -> Compressed:
        """Compress an update, which stays as it is.

        Args:
            update: Delta_k = w_k - w_t, of any shapes.
            round: From 1.
            rng: For random sparsifiers and stochastic rounding.

        Returns:
            What to send.

        Raises:
            ValueError: A value of the update is not finite, or not once it is scaled.
        """
        for name, values in update.items():
            if not is_finite(values):
                raise ValueError(f"{name!r} has a value that is not finite")
        chosen = self.sparsifier.sparsify(update, round, rng)
        payload = wire.encode(chosen, self.quantiser, rng)
        decoded = wire.decode(payload, {name: values.shape for name, values in update.items()})
        return Compressed(
            payload=payload,
            sent={name: _restrict(decoded[name], chosen[name]) for name in chosen},
        )


def make_compressor(
    sparsifier: SparsifierName,
    quantiser: QuantiserName,
    *,
    threshold: float,
    density: float,
    warmup_rounds: int,
    int8_rounding: Rounding,
    int8_scale: ScaleOf,
    scaled: bool,
) -> Compressor:
    """Return the compressor that a configuration names.

    Args:
        sparsifier: The entries that are sent.
        quantiser: The form of their values.
        threshold: Of ``threshold``, >= 0.
        density: Of ``top_k``, ``global_top_k`` and ``random_k``, in (0, 1].
        warmup_rounds: Before these send that density
            (:class:`~common.compression.density.DensitySchedule`).
        int8_rounding: Of ``int8``.
        int8_scale: Of ``int8``: what has a scale of its own.
        scaled: Of ``random_k``: send an unbiased estimate of the update. Without error feedback.
    """
    schedule = DensitySchedule(density, warmup_rounds)
    sparsifiers: dict[SparsifierName, Callable[[], Sparsifier]] = {
        "none": Keep,
        "threshold": lambda: Threshold(threshold),
        "top_k": lambda: TopK(schedule),
        "global_top_k": lambda: GlobalTopK(schedule),
        "random_k": lambda: RandomK(schedule, scaled),
    }
    quantisers: dict[QuantiserName, Callable[[], Quantiser]] = {
        "float32": Float32,
        "float16": Float16,
        "bfloat16": BFloat16,
        "int8": lambda: Int8(int8_rounding, int8_scale),
        "sign": Sign,
    }
    return Compressor(sparsifiers[sparsifier](), quantisers[quantiser]())


def _restrict(decoded: SparseTensor, chosen: SparseTensor) -> SparseTensor:
    """Return the decoded values of the chosen entries.

    Where that weighs less, the wire format writes a sparse tensor with all its zeros.
    """
    if decoded.indices is None and chosen.indices is not None:
        return SparseTensor(chosen.indices, decoded.values[chosen.indices], decoded.shape)
    return decoded
