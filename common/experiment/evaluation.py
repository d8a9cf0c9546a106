"""Loss and accuracy of a model, on the server."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from common.autocast import autocast
from common.client.logistic import is_logistic_regression, loss_and_correct, require_fit
from common.client.work import Precision
from common.inputs import InMemory, Inputs
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


@dataclass(frozen=True)
class TopKMetrics(Metrics):
    """Means over examples.

    Attributes:
        top_k_accuracy: Fraction whose label is among the k likeliest.
    """

    top_k_accuracy: float


def evaluate(model: nn.Module, x: Tensor, y: Tensor) -> Metrics:
    """Evaluate a classifier on all examples.

    Args:
        model: Maps a batch of x to logits [batch, classes]. On a CPU it stays in the memory format
            that convolutions are fastest in, channels last.
        x: Inputs, shape [n, ...], on the model's device.
        y: Labels, shape [n], on the model's device.

    Returns:
        Means over the examples.
    """
    if is_logistic_regression(model):
        W, b = model.weight.detach().numpy(), model.bias.detach().numpy()
        require_fit(W, x.numpy(), y.numpy())
        total_loss, num_correct = loss_and_correct(W, b, x.numpy(), y.numpy())
        return Metrics(total_loss / len(y), num_correct / len(y))
    metrics = evaluate_top_k(model, InMemory(x), y, k=1)
    return Metrics(metrics.loss, metrics.accuracy)


def logits_of(
    model: nn.Module, x: Inputs, num_classes: int, precision: Precision = "float32"
) -> Tensor:
    """Return a classifier's logits for all examples.

    Args:
        model: As for :func:`evaluate`.
        x: n inputs, of which all logits fit into memory.
        num_classes: Number of labels.
        precision: What the model computes in; its weights are float32.

    Returns:
        float32, shape [n, num_classes], on the model's device.
    """
    device = next(model.parameters()).device
    logits = torch.empty(len(x), num_classes, device=device)
    for examples, of_examples in _batches_of_logits(model, x, precision, device):
        logits[examples.to(device)] = of_examples
    return logits


def evaluate_top_k(
    model: nn.Module, x: Inputs, y: Tensor, k: int, precision: Precision = "float32"
) -> TopKMetrics:
    """Evaluate a classifier on all examples, batch by batch.

    Args:
        model: As for :func:`evaluate`.
        x: n inputs.
        y: Labels, shape [n], on the model's device.
        k: Of the top-k accuracy; with fewer classes than k it is 1.
        precision: What the model computes in; its weights are float32.

    Returns:
        Means over the examples.
    """
    # Sums stay on the device: reading them in every chunk would make a GPU wait.
    loss = torch.zeros((), dtype=torch.float64, device=y.device)
    correct = torch.zeros((), dtype=torch.int64, device=y.device)
    among_k = torch.zeros_like(correct)
    for examples, logits in _batches_of_logits(model, x, precision, y.device):
        labels = y[examples.to(y.device)]
        loss += nn.functional.cross_entropy(logits, labels, reduction="none").sum(
            dtype=torch.float64
        )
        correct += (logits.argmax(dim=1) == labels).sum()
        if k > 1:
            likeliest = logits.topk(min(k, logits.shape[1]), dim=1).indices
            among_k += (likeliest == labels[:, None]).sum()
    accuracy = int(correct) / len(y)
    among = int(among_k) / len(y) if k > 1 else accuracy
    return TopKMetrics(loss.item() / len(y), accuracy, among)


@torch.no_grad()
def _batches_of_logits(
    model: nn.Module, x: Inputs, precision: Precision, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the examples of each batch, and their logits, float32 [batch, classes]."""
    model.eval()
    use_channels_last(model)
    for examples in torch.split(torch.arange(len(x)), _CHUNK):
        with autocast(device, precision):
            logits = model(x.take(examples))
        yield examples, logits.float()
