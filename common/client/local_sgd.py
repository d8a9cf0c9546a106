"""Local training: minibatch SGD on F_k(w) + mu/2 ||w - w_global||^2."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from common.client.logistic import logistic_sgd
from common.client.work import LocalWork
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
        model: Maps a batch of x to logits of shape [batch, classes].
        x: The client's inputs, shape [n_k, ...]; without any, the model stays.
        y: The client's labels, shape [n_k].
        work: The local problem and its budget.
        rng: Orders the examples, anew each epoch, and seeds layers that draw.
    """
    if len(y) == 0 or work.epochs == 0:
        return
    use_one_thread()
    order = np.stack([rng.permutation(len(y)) for _ in range(work.epochs)])
    device = next(model.parameters()).device
    if isinstance(model, nn.Linear) and _is_compiled_for(model):
        logistic_sgd(model.weight.detach().numpy(), model.bias.detach().numpy(), x, y, order, work)
    else:
        inputs, labels = torch.tensor(x, device=device), torch.tensor(y, device=device)
        # Layers that draw, such as dropout, know torch's global generators only.
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(int(rng.integers(2**63)))
            _autograd_sgd(model, inputs, labels, torch.tensor(order, device=device), work)


def _is_compiled_for(model: nn.Linear) -> bool:
    """Tell whether the compiled path fits: weights and biases, all trained, on the CPU."""
    w = tuple(model.parameters())
    return len(w) == 2 and all(
        p.requires_grad and p.dtype == torch.float32 and p.device.type == "cpu" for p in w
    )


def _autograd_sgd(model: nn.Module, x: Tensor, y: Tensor, order: Tensor, work: LocalWork) -> None:
    model.train()
    w: list[Tensor] = [parameter for parameter in model.parameters() if parameter.requires_grad]
    w_global = [parameter.detach().clone() for parameter in w]
    for epoch_order in order:
        for batch in torch.split(epoch_order, work.batch_size):
            loss = nn.functional.cross_entropy(model(x[batch]), y[batch])
            gradient = torch.autograd.grad(loss, w)
            with torch.no_grad():
                add_proximal_gradient(gradient, w, w_global, work.mu)
                torch._foreach_add_(w, gradient, alpha=-work.learning_rate)


def add_proximal_gradient(
    gradient: tuple[Tensor, ...], w: list[Tensor], w_global: list[Tensor], mu: float
) -> None:
    """Add mu (w - w_global), the gradient of the proximal term, in place.

    At mu = 0 nothing is added, which makes FedProx there FedAvg to the last bit.
    """
    if mu != 0:
        for g, now, start in zip(gradient, w, w_global, strict=True):
            g.add_(now - start, alpha=mu)
