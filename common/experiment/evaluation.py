"""Loss and accuracy of a model, on the server."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from common.client.logistic import is_logistic_regression, loss_and_correct, require_fit
from common.memory_format import use_channels_last

# Examples at a time, as measured: a network's activations should stay in the cache.
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
    if is_logistic_regression(model):
        W, b = model.weight.numpy(), model.bias.numpy()
        require_fit(W, x.numpy(), y.numpy())
        total_loss, num_correct = loss_and_correct(W, b, x.numpy(), y.numpy())
        return Metrics(total_loss / len(y), num_correct / len(y))
    model.eval()
    use_channels_last(model)
    # Sums stay on the device: reading them in every chunk would make a GPU wait.
    loss = torch.zeros((), dtype=torch.float64, device=x.device)
    correct = torch.zeros((), dtype=torch.int64, device=x.device)
    for inputs, labels in zip(torch.split(x, _CHUNK), torch.split(y, _CHUNK), strict=True):
        logits = model(inputs)
        loss += nn.functional.cross_entropy(logits, labels, reduction="none").sum(
            dtype=torch.float64
        )
        correct += (logits.argmax(dim=1) == labels).sum()
    return Metrics(loss.item() / len(y), int(correct) / len(y))
