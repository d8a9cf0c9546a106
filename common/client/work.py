"""What a client is asked to do in one round."""

from dataclasses import dataclass
from typing import Literal

Precision = Literal["float32", "bfloat16", "float16"]
LocalOptimizer = Literal["sgd", "adamw"]
ProximalTerm = Literal["in_loss", "decoupled"]


@dataclass(frozen=True)
class LocalWork:
    """The local problem of one client and its budget.

    The client minimises h(w) = F_k(w) + mu/2 ||w - w_global||^2 (Li et al. 2020, equation 2) by
    minibatch SGD from w_global; mu = 0 is the local problem of FedAvg. With momentum m it is
    v <- m v + grad h(w), w <- w - eta v, as in PyTorch, from v = 0 in every round. Weight decay of
    SGD is PyTorch's, too: weight_decay/2 ||w||^2 is part of h.

    AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101) has PyTorch's beta_1, beta_2 and epsilon, and
    moments of 0 in every round. It divides each coordinate of a gradient by a running mean of its
    size, the proximal term's share included. Decoupled from that, the term is a step of its own,
    w <- w - eta mu (w - w_global), as the weight decay is.

    Attributes:
        epochs: Passes over the client's examples, E, or fewer for a straggler.
        batch_size: Examples a step, B; the last batch of an epoch may be smaller.
        learning_rate: Step size, eta.
        mu: Coefficient of the proximal term.
        precision: What a network computes logits and gradients in; weights are always float32. In
            float16 the loss is scaled, by a factor that every round finds anew: see
            :mod:`common.client.loss_scaling`.
        batches: Mini-batches to do of each epoch, for a straggler; None for all of them.
        momentum: m of SGD, in [0, 1).
        optimizer: Whose steps are taken.
        weight_decay: >= 0. Of SGD a part of the gradient, weight_decay w, as the proximal term is;
            of AdamW decoupled, w <- w - eta weight_decay w.
        proximal_term: Part of AdamW's loss, or decoupled; SGD has it in its loss.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    mu: float
    precision: Precision = "float32"
    batches: int | None = None
    momentum: float = 0.0
    optimizer: LocalOptimizer = "sgd"
    weight_decay: float = 0.0
    proximal_term: ProximalTerm = "in_loss"


@dataclass(frozen=True)
class LocalTraining:
    """What there is to say of a client's local epochs beside the model.

    Attributes:
        num_steps: Steps that the local optimiser made.
        num_skipped: Batches without a step, for in float16 their gradients overflowed.
        train_loss: Mean cross-entropy over the examples of the last epoch, each with the model of
            its own step, in nats; None without an epoch, and where it is not computed: the compiled
            path of logistic regression.
    """

    num_steps: int
    train_loss: float | None
    num_skipped: int = 0
