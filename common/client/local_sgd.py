"""Local training: minibatch SGD on F_k(w) + mu/2 ||w - w_global||^2."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from common.client.logistic import is_logistic_regression, logistic_sgd
from common.client.work import LocalWork
from common.inputs import InMemory, Inputs
from common.memory_format import use_channels_last
from common.threads import use_one_thread


def train_locally(
    model: nn.Module,
    x: NDArray[np.float32] | Inputs,
    y: NDArray[np.int64],
    work: LocalWork,
    rng: np.random.Generator,
) -> None:
    """Run a client's local epochs, in place: the model comes with w_global, leaves with w_k.

    The loss is the mean cross-entropy of a batch. A model that is one linear layer, multinomial
    logistic regression, takes the compiled path; any other goes through autograd.

    Args:
        model: Maps a batch of x to logits of shape [batch, classes]. On a CPU it stays in the
            memory format that convolutions are fastest in, channels last.
        x: The client's inputs, shape [n_k, ...], or what reads them; without any, the model stays.
        y: The client's labels, shape [n_k].
        work: The local problem and its budget.
        rng: Orders the examples, anew each epoch, and seeds layers that draw.
    """
    if len(y) == 0 or work.epochs == 0:
        return
    use_one_thread()
    order = epoch_orders(len(y), work.epochs, rng)
    if work.batches is not None:
        order = np.ascontiguousarray(order[:, : work.batches * work.batch_size])
    if isinstance(x, np.ndarray) and is_logistic_regression(model) and _is_plain(model, work):
        logistic_sgd(model.weight.detach().numpy(), model.bias.detach().numpy(), x, y, order, work)
        return
    device = next(model.parameters()).device
    inputs = InMemory(torch.tensor(x, device=device)) if isinstance(x, np.ndarray) else x
    # Layers that draw, such as dropout, know torch's global generators only.
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(int(rng.integers(2**63)))
        _autograd_sgd(model, inputs, torch.tensor(y, device=device), torch.tensor(order), work)


def epoch_orders(n_k: int, epochs: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw the order of the examples in every epoch, shape [epochs, n_k]."""
    order = np.tile(np.arange(n_k), (epochs, 1))
    return rng.permuted(order, axis=1, out=order)


def _is_plain(model: nn.Module, work: LocalWork) -> bool:
    """Tell whether the compiled path does what is asked for."""
    trains_all = all(parameter.requires_grad for parameter in model.parameters())
    return trains_all and work.precision == "float32" and work.momentum == 0


def _autograd_sgd(model: nn.Module, x: Inputs, y: Tensor, order: Tensor, work: LocalWork) -> None:
    model.train()
    use_channels_last(model)
    w: list[Tensor] = [parameter for parameter in model.parameters() if parameter.requires_grad]
    w_global = [parameter.detach().clone() for parameter in w]
    v = [torch.zeros_like(parameter) for parameter in w] if work.momentum != 0 else []
    in_bfloat16 = work.precision == "bfloat16"
    least = 2 if any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules()) else 1
    for epoch_order in order:
        for batch in batches(epoch_order, work.batch_size, least):
            with torch.autocast(y.device.type, torch.bfloat16, enabled=in_bfloat16):
                logits = model(x.take(batch))
            loss = nn.functional.cross_entropy(logits.float(), y[batch.to(y.device)])
            step(w, torch.autograd.grad(loss, w), w_global, work, v)


def batches(order: Tensor, batch_size: int, least: int) -> Iterator[Tensor]:
    """Cut the order of an epoch's examples into batches, of which the last may be smaller.

    Args:
        order: Shape [examples].
        batch_size: B.
        least: A smaller last batch joins the one before, if there is one: BatchNorm cannot
            normalise a single example whose feature map is a single pixel.
    """
    rest = len(order) % batch_size
    joined = rest if 0 < rest < least and len(order) > batch_size else 0
    *whole, last = torch.split(order[: len(order) - joined], batch_size)
    yield from whole
    yield torch.cat([last, order[len(order) - joined :]]) if joined else last


@torch.no_grad()
def step(
    w: list[Tensor],
    gradient: tuple[Tensor, ...],
    w_global: list[Tensor],
    work: LocalWork,
    v: list[Tensor],
) -> None:
    """Make a step on the proximal objective, in place.

    Without momentum, w - eta (g + mu (w - w_global)) is lerp(w, w_global, eta mu) - eta g: two
    passes over w instead of three, and no difference w - w_global in memory. At mu = 0 no proximal
    term is computed, which makes FedProx there FedAvg to the last bit.

    Args:
        w: Parameters.
        gradient: g, of F_k at w.
        w_global: Where the round started.
        work: Has eta, mu and the momentum.
        v: Velocities, which are updated; without momentum none.
    """
    if work.momentum == 0:
        if work.mu != 0:
            torch._foreach_lerp_(w, w_global, work.learning_rate * work.mu)
        torch._foreach_add_(w, gradient, alpha=-work.learning_rate)
        return
    torch._foreach_mul_(v, work.momentum)
    torch._foreach_add_(v, gradient)
    if work.mu != 0:
        # One tensor after the other: all differences at once would be another model in memory,
        # which takes three times as long.
        for v_i, w_i, w_global_i in zip(v, w, w_global, strict=True):
            v_i.add_(w_i - w_global_i, alpha=work.mu)
    torch._foreach_add_(w, v, alpha=-work.learning_rate)
