"""A client's part of model pruning: a masked model comes, is trained, and its update is sent."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Self

import numpy as np
import torch
from flwr.app import ArrayRecord, Message
from numpy.typing import NDArray
from torch import Tensor, nn

from common.arrays import load_arrays, to_arrays
from common.client.local_sgd import GradientHook
from common.client.work import LocalWork
from common.compression.quantisers import Float32, Quantiser
from common.protocol import ARRAYS, train_reply
from pruning_afo.masks import Mask, prunable_parameters
from pruning_afo.packed import (
    MASK,
    PARAMETERS,
    REST,
    SQUARED_GRADIENTS,
    PruningTask,
    decode_tensors,
    encode_tensors,
    mask_of_record,
    mask_to_record,
)
from pruning_afo.readjustment import grow, remove


class PrunedClient:
    """One round of one client with a model that may be pruned.

    A client app reads::

        pruned = PrunedClient.of(message, model)
        with pruned.training(work, len(y)) as correct:
            train_locally(model, x, y, work, rng, correct)
        return pruned.reply(len(y), quantiser, rng)

    The gradients of pruned entries are set to 0, with which momentum, weight decay and proximal
    term leave them at the 0 that they come with.

    Args:
        message: What the server asked.
        model: Gets w_t: parameters, buffers and zeros where entries are pruned.

    Raises:
        ValueError: What the server sent is not of this model.

    Attributes:
        mask: What is kept; after training, of the client's own model.
    """

    def __init__(self, message: Message, model: nn.Module) -> None:
        content = message.content
        self._message = message
        self._model = model
        self._w = dict(model.named_parameters())
        self._task = PruningTask.of(content)
        self.mask = _read_mask(content.array_records.get(MASK), model)
        shapes = {name: tuple(w.shape) for name, w in self._w.items()}
        try:
            packed = decode_tensors(
                content.array_records[PARAMETERS], self.mask.packed_shapes(shapes)
            )
        except ValueError as error:
            raise ValueError(f"{PARAMETERS!r} {error}") from None
        self._w_t = self.mask.unpack(packed)
        load_arrays(self._buffers(), content.array_records[ARRAYS])
        with torch.no_grad():
            for name, w in self._w.items():
                w.copy_(torch.tensor(self._w_t[name]))
        self._factors_of_mask: dict[str, Tensor] | None = None
        self._squares = _MeanSquares()
        self._num_steps = 0
        self._readjust_at = math.inf

    @classmethod
    def of(cls, message: Message, model: nn.Module) -> Self | None:
        """Return the client's round; None if the server sent the model as it is, as FedAvg does.

        Args:
            message: As for the class.
            model: As for the class.

        Raises:
            ValueError: As for the class.
        """
        return cls(message, model) if PARAMETERS in message.content.array_records else None

    @contextmanager
    def training(self, work: LocalWork, num_examples: int) -> Iterator[GradientHook]:
        """Give what local training is to correct gradients with, and finish the model after it.

        Args:
            work: The client's budget: FedDST changes the mask at the gradient after half of it.
            num_examples: n_k.

        Yields:
            What sets the gradients of pruned entries to 0.
        """
        handle = None
        if self._task.readjusted_share > 0:
            self._readjust_at = _expected_steps(work, num_examples) // 2
            # What is removed amid training has momentum left: it is set to 0 before each use.
            handle = self._model.register_forward_pre_hook(lambda *_: self._zero_pruned())
        try:
            yield self._correct
        finally:
            if handle:
                handle.remove()
        self._zero_pruned()

    def reply(
        self,
        num_examples: int,
        quantiser: Quantiser,
        rng: np.random.Generator,
        metrics: Mapping[str, float] = MappingProxyType({}),
    ) -> Message:
        """Answer with the update, of the kept entries only, once the model is w_k.

        Args:
            num_examples: n_k.
            quantiser: Of the update. The kept entries of a parameter are one row to it.
            rng: Of what the quantiser draws.
            metrics: What the client measured of its own model, by name.

        Returns:
            The reply that the strategy reads.

        Raises:
            ValueError: The update, or a squared gradient, is not finite.
        """
        # Of a model that diverged nothing is finite, which is refused below.
        with np.errstate(over="ignore", invalid="ignore"):
            update = {name: _to_numpy(w) - self._w_t[name] for name, w in self._w.items()}
        reply = train_reply(
            self._message,
            to_arrays(self._buffers()),
            num_examples,
            metrics,
            update=encode_tensors(self.mask.pack(update), quantiser, rng),
        )
        if self._task.readjusted_share > 0:
            reply.content[MASK] = mask_to_record(self.mask)
        if self._task.send_squared_gradients:
            reply.content[SQUARED_GRADIENTS] = self._squared_gradients(rng)
        return reply

    def _buffers(self) -> dict[str, Tensor]:
        state: Mapping[str, Tensor] = self._model.state_dict()
        return {key: tensor for key, tensor in state.items() if key not in self._w}

    @torch.no_grad()
    def _correct(self, gradient: list[Tensor]) -> None:
        """Set the gradients of pruned entries to 0, in place, once all else has seen them."""
        trained = [name for name, w in self._w.items() if w.requires_grad]
        by_name = dict(zip(trained, gradient, strict=True))
        if self._task.send_squared_gradients:
            self._squares.add(by_name)
        if self._num_steps >= self._readjust_at and _are_finite(by_name):
            self._readjust(by_name)
            self._readjust_at = math.inf
        self._num_steps += 1
        for name, factor in self._factors().items():
            by_name[name].mul_(factor)

    def _readjust(self, gradient: Mapping[str, Tensor]) -> None:
        """Remove and grow entries; those that grow begin at 0."""
        readjusted = {}
        for name, kept in self.mask.is_kept.items():
            w = self._w[name]
            left = remove(kept, _to_numpy(w), self._task.readjusted_share)
            w.mul_(_like(left, w))
            num_removed = np.count_nonzero(kept) - np.count_nonzero(left)
            readjusted[name] = grow(left, _to_numpy(gradient[name]), int(num_removed))
        self.mask = Mask(readjusted)
        self._factors_of_mask = None

    @torch.no_grad()
    def _zero_pruned(self) -> None:
        for name, factor in self._factors().items():
            self._w[name].mul_(factor)

    def _factors(self) -> dict[str, Tensor]:
        """Return 1 for every entry kept and 0 for every other, of what is pruned at all."""
        if self._factors_of_mask is None:
            self._factors_of_mask = {
                name: _like(kept, self._w[name])
                for name, kept in self.mask.is_kept.items()
                if not kept.all()
            }
        return self._factors_of_mask

    def _squared_gradients(self, rng: np.random.Generator) -> ArrayRecord:
        shapes = self.mask.shapes
        means = self._squares.means()
        rest = sum(
            float(g.sum(dtype=np.float64)) for name, g in means.items() if name not in shapes
        )
        sent = {
            name: means.get(name, np.zeros(shape, np.float32)) for name, shape in shapes.items()
        }
        return encode_tensors({**sent, REST: np.array([rest], np.float32)}, Float32(), rng)


class _MeanSquares:
    """The mean over steps of each gradient squared; a step whose gradients overflowed is none."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._num_steps = 0

    def add(self, gradient: Mapping[str, Tensor]) -> None:
        if not _are_finite(gradient):
            return
        for name, g in gradient.items():
            self._sums.setdefault(name, torch.zeros_like(g)).addcmul_(g, g)
        self._num_steps += 1

    def means(self) -> dict[str, NDArray[np.float32]]:
        return {name: _to_numpy(sum_ / self._num_steps) for name, sum_ in self._sums.items()}


def _read_mask(record: ArrayRecord | None, model: nn.Module) -> Mask:
    """Return the mask that the server sent; without any, the one that keeps everything."""
    shapes = prunable_parameters(model)
    if record is None:
        return Mask.full(shapes)
    try:
        return mask_of_record(record, shapes)
    except ValueError as error:
        raise ValueError(f"{MASK!r} {error}") from None


def _expected_steps(work: LocalWork, num_examples: int) -> int:
    """Return the steps of a client; one an epoch less where a last batch joins the one before."""
    of_epoch = math.ceil(num_examples / work.batch_size)
    return work.epochs * (of_epoch if work.batches is None else min(work.batches, of_epoch))


def _are_finite(tensors: Mapping[str, Tensor]) -> bool:
    return bool(torch.isfinite(torch.stack([tensor.sum() for tensor in tensors.values()])).all())


def _like(is_kept: NDArray[np.bool_], w: Tensor) -> Tensor:
    """Return 1 where an entry is kept and 0 elsewhere, in type, place and memory format of w."""
    return torch.empty_like(w).copy_(torch.from_numpy(is_kept))


def _to_numpy(tensor: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = tensor.detach().cpu().numpy()
    return array
