"""Loss and accuracy of a model, on the server."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from common.client.logistic import is_logistic_regression, logits
from common.memory_format import use_channels_last

# Examples at a time, as measured: a network's activations should stay in the cache.
_CHUNK_OF_LINEAR = 1000
_CHUNK = 200


@dataclass(frozen=True)
class Metrics:
    """Means over examples.

    Attributes:
        loss: Mean cross-entropy, in nats.
        accuracy: Fraction classified correctly.
    """

    loss: float
    accuracy: float


@torch.no_grad()
def evaluate(model: nn.Module, x: Tensor, y: Tensor) -> Metrics:
    """Evaluate a classifier on all examples.

    Args:
        model: Maps a batch of x to logits [batch, classes]. On a CPU it stays in the memory format
            that convolutions are fastest in, channels last.
        x: Inputs, shape [n, ...], on the model's device.
        y: Labels, shape [n], on the model's device.
    """
    model.eval()
    use_channels_last(model)
    chunk = _CHUNK_OF_LINEAR if is_logistic_regression(model) else _CHUNK
    # Sums stay on the device: reading them in every chunk would make a GPU wait.
    loss = torch.zeros((), dtype=torch.float64, device=x.device)
    correct = torch.zeros((), dtype=torch.int64, device=x.device)
    for inputs, labels in zip(torch.split(x, chunk), torch.split(y, chunk), strict=True):
        z = _logits(model, inputs)
        log_p = nn.functional.log_softmax(z, dim=0)
        loss -= log_p.gather(0, labels[None]).sum(dtype=torch.float64)
        correct += (z.max(dim=0).indices == labels).sum()
    return Metrics(loss.item() / len(y), int(correct) / len(y))


def _logits(model: nn.Module, x: Tensor) -> Tensor:
    """Return logits [classes, batch], for what follows is vectorised along the last dimension."""
    if is_logistic_regression(model):
        W, b = model.weight.numpy(), model.bias.numpy()
        return torch.from_numpy(logits(W, b, x.numpy())).T.contiguous()
    z: Tensor = model(x)
    return z.T.contiguous()
