"""What a client is asked to do in one round."""

from dataclasses import dataclass
from typing import Literal

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class LocalWork:
    """The local problem of one client and its budget.

    The client minimises h(w) = F_k(w) + mu/2 ||w - w_global||^2 (Li et al. 2020, equation 2) by
    minibatch SGD from w_global; mu = 0 is the local problem of FedAvg. With momentum m it is
    v <- m v + grad h(w), w <- w - eta v, as in PyTorch, from v = 0 in every round.

    Attributes:
        epochs: Passes over the client's examples, E, or fewer for a straggler.
        batch_size: Examples a step, B; the last batch of an epoch may be smaller.
        learning_rate: Step size, eta.
        mu: Coefficient of the proximal term.
        precision: What a network computes logits and gradients in; weights are always float32.
        batches: Mini-batches to do of each epoch, for a straggler; None for all of them.
        momentum: m, in [0, 1).
    """

    epochs: int
    batch_size: int
    learning_rate: float
    mu: float
    precision: Precision = "float32"
    batches: int | None = None
    momentum: float = 0.0
