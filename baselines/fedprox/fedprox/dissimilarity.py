"""How much the clients' local functions differ (Li et al. 2020, section 4.1, figures 2 and 6)."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector


def dissimilarity(model: nn.Module, clients: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Return the variance of the local gradients, (1/N) sum_k ||grad F_k(w) - grad f(w)||^2.

    grad F_k is the gradient of the mean loss over all examples of client k, and grad f their mean
    weighted by n_k. Each of all N clients counts once, whatever its size: so do the authors' code
    (flearn/trainers/fedprox.py, "gradient difference") and the curves it drew, while E_k in the
    paper's text weights clients by n_k.

    Args:
        model: Has the weights w; maps inputs to logits [examples, classes].
        clients: Inputs and labels of every client, on the model's device.
    """
    w = [parameter for parameter in model.parameters() if parameter.requires_grad]
    dim = sum(parameter.numel() for parameter in w)
    # In one pass, for the gradients of all clients together may be large:
    # 1/N sum_k ||g_k - g||^2 = 1/N sum_k ||g_k||^2 - 2 g . (1/N sum_k g_k) + ||g||^2.
    weighted_sum = torch.zeros(dim, dtype=torch.float64, device=w[0].device)
    plain_sum = torch.zeros_like(weighted_sum)
    squares, num_clients, num_examples = 0.0, 0, 0
    model.eval()
    for x, y in clients:
        loss = nn.functional.cross_entropy(model(x), y)
        g_k = parameters_to_vector(torch.autograd.grad(loss, w)).double()
        weighted_sum += len(y) * g_k
        plain_sum += g_k
        squares += g_k.dot(g_k).item()
        num_clients += 1
        num_examples += len(y)
    g = weighted_sum / num_examples
    return (squares - 2 * g.dot(plain_sum).item()) / num_clients + g.dot(g).item()
