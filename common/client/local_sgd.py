"""Local training: minibatch steps on F_k(w) + mu/2 ||w - w_global||^2.

With mu = 0 it is the ClientUpdate of FedAvg (McMahan et al. 2017, arXiv 1602.05629, algorithm 1),
otherwise that of FedProx (Li et al. 2020, arXiv 1812.06127, algorithm 2).
"""

import math
from collections.abc import Callable, Iterator
from typing import TypeGuard

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from common.autocast import autocast
from common.client.local_optimizer import make_optimizer
from common.client.logistic import is_logistic_regression, logistic_sgd
from common.client.loss_scaling import LossScaler
from common.client.work import LocalTraining, LocalWork
from common.inputs import InMemory, Inputs
from common.memory_format import use_channels_last
from common.threads import use_one_thread

# Changes the gradients of a step in place: one tensor for each trained parameter, in their order.
GradientHook = Callable[[list[Tensor]], None]


def train_locally(
    model: nn.Module,
    x: NDArray[np.float32] | Inputs,
    y: NDArray[np.int64],
    work: LocalWork,
    rng: np.random.Generator,
    correct: GradientHook | None = None,
) -> LocalTraining:
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
        correct: Called in every step with the gradients of F_k at w, float32 and without a scale of
            the loss, before the optimiser has them; it changes them in place. SCAFFOLD adds
            c - c_k here.

    Returns:
        What there is to say of the epochs beside the model.
    """
    if len(y) == 0 or work.epochs == 0:
        return LocalTraining(0, None)
    use_one_thread()
    order = epoch_orders(len(y), work.epochs, rng)
    if work.batches is not None:
        order = np.ascontiguousarray(order[:, : work.batches * work.batch_size])
    if isinstance(x, np.ndarray) and correct is None and _is_compiled(model, work):
        logistic_sgd(model.weight.detach().numpy(), model.bias.detach().numpy(), x, y, order, work)
        return LocalTraining(len(order) * math.ceil(order.shape[1] / work.batch_size), None)
    device = next(model.parameters()).device
    inputs = InMemory(torch.tensor(x, device=device)) if isinstance(x, np.ndarray) else x
    # Layers that draw, such as dropout, know torch's global generators only.
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(int(rng.integers(2**63)))
        labels = torch.tensor(y, device=device)
        return _through_autograd(model, inputs, labels, torch.tensor(order), work, correct)


def epoch_orders(n_k: int, epochs: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw the order of the examples in every epoch, shape [epochs, n_k]."""
    order = np.tile(np.arange(n_k), (epochs, 1))
    return rng.permuted(order, axis=1, out=order)


def _is_compiled(model: nn.Module, work: LocalWork) -> TypeGuard[nn.Linear]:
    """Tell whether there is a compiled path, and it does what is asked for."""
    trains_all = all(parameter.requires_grad for parameter in model.parameters())
    is_plain = work.optimizer == "sgd" and work.momentum == 0 and work.weight_decay == 0
    in_float32 = work.precision == "float32"
    return is_logistic_regression(model) and trains_all and is_plain and in_float32


def _through_autograd(
    model: nn.Module,
    x: Inputs,
    y: Tensor,
    order: Tensor,
    work: LocalWork,
    correct: GradientHook | None,
) -> LocalTraining:
    model.train()
    use_channels_last(model)
    w: list[Tensor] = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = make_optimizer(w, [parameter.detach().clone() for parameter in w], work)
    scaler = LossScaler() if work.precision == "float16" else None
    least = 2 if any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules()) else 1
    num_steps = num_skipped = 0
    # A sum stays on the device: to read it in every step would make a GPU wait.
    loss_of_epoch = torch.zeros((), dtype=torch.float64, device=y.device)
    for epoch_order in order:
        loss_of_epoch.zero_()
        for batch in batches(epoch_order, work.batch_size, least):
            with autocast(y.device, work.precision):
                logits = model(x.take(batch))
            loss = nn.functional.cross_entropy(logits.float(), y[batch.to(y.device)])
            loss_of_epoch += loss.detach() * len(batch)
            if scaler is None:
                gradient = list(torch.autograd.grad(loss, w))
            else:
                gradient = list(torch.autograd.grad(loss * scaler.scale, w))
                if not scaler.unscale(gradient):
                    num_skipped += 1
                    continue
            if correct is not None:
                correct(gradient)
            optimizer.step(gradient)
            num_steps += 1
    return LocalTraining(num_steps, loss_of_epoch.item() / order.shape[1], num_skipped)


def batches(order: Tensor, batch_size: int, least: int) -> Iterator[Tensor]:
    """Cut the order of an epoch's examples into batches, of which the last may be smaller.

    Args:
        order: int64 [examples].
        batch_size: Examples of a mini-batch, B.
        least: A smaller last batch joins the one before, if there is one: BatchNorm cannot
            normalise a single example whose feature map is a single pixel.

    Yields:
        The examples of a batch, int64 [batch].
    """
    rest = len(order) % batch_size
    joined = rest if 0 < rest < least and len(order) > batch_size else 0
    *whole, last = torch.split(order[: len(order) - joined], batch_size)
    yield from whole
    yield torch.cat([last, order[len(order) - joined :]]) if joined else last
