"""Loss and accuracy of a model, on the server."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

# Large enough for full speed, small enough for the activations of a CNN to stay in memory.
_CHUNK = 500


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
        model: Maps a batch of x to logits [batch, classes].
        x: Inputs, shape [n, ...], on the model's device.
        y: Labels, shape [n], on the model's device.
    """
    model.eval()
    loss = 0.0
    correct = 0
    for inputs, labels in zip(torch.split(x, _CHUNK), torch.split(y, _CHUNK), strict=True):
        logits = model(inputs)
        loss += nn.functional.cross_entropy(logits, labels, reduction="sum").item()
        correct += int((logits.argmax(dim=1) == labels).sum())
    return Metrics(loss / len(y), correct / len(y))
