"""Local training: minibatch SGD on F_k(w) + mu/2 ||w - w_global||^2."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from common.client.logistic import is_logistic_regression, logistic_sgd
from common.client.work import LocalWork
from common.memory_format import use_channels_last
from common.threads import use_one_thread


def train_locally(
    model: nn.Module,
    x: NDArray[np.float32],
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
        x: The client's inputs, shape [n_k, ...]; without any, the model stays.
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
    device = next(model.parameters()).device
    trains_all = all(parameter.requires_grad for parameter in model.parameters())
    if is_logistic_regression(model) and trains_all and work.precision == "float32":
        logistic_sgd(model.weight.detach().numpy(), model.bias.detach().numpy(), x, y, order, work)
    else:
        inputs, labels = torch.tensor(x, device=device), torch.tensor(y, device=device)
        # Layers that draw, such as dropout, know torch's global generators only.
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(int(rng.integers(2**63)))
            _autograd_sgd(model, inputs, labels, torch.tensor(order, device=device), work)


def epoch_orders(n_k: int, epochs: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw the order of the examples in every epoch, shape [epochs, n_k]."""
    order = np.tile(np.arange(n_k), (epochs, 1))
    return rng.permuted(order, axis=1, out=order)


def _autograd_sgd(model: nn.Module, x: Tensor, y: Tensor, order: Tensor, work: LocalWork) -> None:
    model.train()
    use_channels_last(model)
    w: list[Tensor] = [parameter for parameter in model.parameters() if parameter.requires_grad]
    w_global = [parameter.detach().clone() for parameter in w]
    in_bfloat16 = work.precision == "bfloat16"
    for epoch_order in order:
        for batch in torch.split(epoch_order, work.batch_size):
            with torch.autocast(x.device.type, torch.bfloat16, enabled=in_bfloat16):
                logits = model(x[batch])
            loss = nn.functional.cross_entropy(logits.float(), y[batch])
            step(w, torch.autograd.grad(loss, w), w_global, work)


@torch.no_grad()
def step(
    w: list[Tensor], gradient: tuple[Tensor, ...], w_global: list[Tensor], work: LocalWork
) -> None:
    """Make a step on the proximal objective, in place.

    w - eta (g + mu (w - w_global)) is lerp(w, w_global, eta mu) - eta g: two passes over w instead
    of three, and no difference w - w_global in memory. At mu = 0 there is the second alone, which
    makes FedProx there FedAvg to the last bit.
    """
    if work.mu != 0:
        torch._foreach_lerp_(w, w_global, work.learning_rate * work.mu)
    torch._foreach_add_(w, gradient, alpha=-work.learning_rate)
