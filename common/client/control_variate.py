"""A client's part of SCAFFOLD (Karimireddy et al. 2020, arXiv 1910.06378, algorithm 1, option II).

Every gradient of a round is corrected by c - c_k, where c_k estimates the client's own gradient and
c that of the global objective. After T_k steps of size eta from w_t to w_k,

    c_k+ = c_k - c + (w_t - w_k) / (T_k eta),

the mean of the mini-batch gradients on the way: a step is eta times a gradient plus c - c_k.

That holds for plain SGD alone. Momentum makes w_t - w_k another sum than that of the gradients.
Adam divides each coordinate of a gradient by a running mean of its size, and with it the
correction: c - c_k is then no difference of gradients in the units of the step, c_k+ is none of
gradients at all, and runs with AdamW were seen to diverge.
"""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import torch
from flwr.app import ArrayRecord, Context, Message
from numpy.typing import NDArray
from torch import Tensor, nn

from common.arrays import to_array, view
from common.protocol import ARRAYS, CONTROL_VARIATE


class ControlVariate:
    """c_k in one round of one client, for the parameters that are trained.

    From round to round c_k is in the client's state, zeros as long as there is none. A client app
    reads::

        control = ControlVariate.of(message, context, model)
        correct = None if control is None else control.correct
        training = train_locally(model, x, y, work, rng, correct)
        change = (
            None if control is None else control.update(training.num_steps, work.learning_rate)
        )
        return train_reply(message, to_arrays(model), len(y), metrics, change)

    and is one of FedAvg's, too: who is sent no c has no correction.

    Args:
        message: What the server asked: w_t and c.
        context: The client's, with what it keeps.
        model: It is trained from w_t; its parameters have the names that they have in the message.

    Raises:
        ValueError: c, c_k or w_t is not of this model.
    """

    def __init__(self, message: Message, context: Context, model: nn.Module) -> None:
        self._state = context.state
        self._w = {name: w for name, w in model.named_parameters() if w.requires_grad}
        self._w_global = self._read("w_t", message.content.array_records[ARRAYS])
        c = self._read("c", message.content.array_records[CONTROL_VARIATE])
        kept = self._state.array_records.get(CONTROL_VARIATE)
        if kept is None:
            self._c_k = {name: np.zeros_like(c_i) for name, c_i in c.items()}
        else:
            self._c_k = self._read("c_k", kept)
        self._correction = {name: np.asarray(c_i - self._c_k[name]) for name, c_i in c.items()}
        self._on_device = [
            torch.from_numpy(self._correction[name]).to(w.device) for name, w in self._w.items()
        ]

    @classmethod
    def of(cls, message: Message, context: Context, model: nn.Module) -> Self | None:
        """Return the client's control variate; None if the server sent no c, as in FedAvg.

        Args:
            message: As for the class.
            context: As for the class.
            model: As for the class.

        Raises:
            ValueError: As for the class.
        """
        if CONTROL_VARIATE not in message.content.array_records:
            return None
        return cls(message, context, model)

    def correct(self, gradient: list[Tensor]) -> None:
        """Add c - c_k to the gradients of a step, in place.

        Args:
            gradient: g, of F_k at w: a tensor for each trained parameter, in their order and of
                their shapes.
        """
        torch._foreach_add_(gradient, self._on_device)

    def update(self, num_steps: int, learning_rate: float) -> ArrayRecord:
        """Keep c_k+ in the client's state, once the model is w_k; a client without steps keeps c_k.

        Args:
            num_steps: T_k.
            learning_rate: eta.

        Returns:
            c_k+ - c_k, by name. The difference travels, for it is what the server adds up, and from
            c_k+ alone it could not tell it without holding the c_k of every client.
        """
        if num_steps == 0:
            return _to_record({name: np.zeros_like(c_k) for name, c_k in self._c_k.items()})
        # Of a model that diverged nothing is finite, which the server tells.
        with np.errstate(over="ignore", invalid="ignore"):
            new = {name: self._mean_gradient(name, num_steps * learning_rate) for name in self._w}
            change = {name: c_k - self._c_k[name] for name, c_k in new.items()}
        self._state[CONTROL_VARIATE] = _to_record(new)
        return _to_record(change)

    def _mean_gradient(self, name: str, length: float) -> NDArray[Any]:
        moved = self._w_global[name] - self._w[name].detach().cpu().numpy()
        mean: NDArray[Any] = moved / length - self._correction[name]
        return mean

    def _read(self, what: str, record: ArrayRecord) -> dict[str, NDArray[Any]]:
        """Return a record's tensors for the parameters that are trained."""
        tensors = {}
        for name, w in self._w.items():
            if name not in record:
                raise ValueError(f"{what} lacks {name!r}, which is trained")
            tensors[name] = view(record[name])
            if tensors[name].shape != w.shape:
                raise ValueError(
                    f"{what} of {name!r} has shape {tensors[name].shape}, not {tuple(w.shape)}"
                )
        return tensors


def _to_record(tensors: Mapping[str, NDArray[Any]]) -> ArrayRecord:
    return ArrayRecord({name: to_array(tensor) for name, tensor in tensors.items()})
