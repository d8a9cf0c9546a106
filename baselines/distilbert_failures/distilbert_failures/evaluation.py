"""The global model after a round, on the whole test set and class by class."""

from dataclasses import dataclass

import numpy as np
import torch
from flwr.app import ArrayRecord
from numpy.typing import NDArray
from torch import Tensor, nn

from common.arrays import load_arrays
from common.experiment.evaluation import evaluate_top_k, logits_of
from common.experiment.recorder import Evaluation
from common.partition.statistics import total_variation
from distilbert_failures.config import DistilBertConfig
from distilbert_failures.dataset import FederatedTexts
from distilbert_failures.lora import travelling_state


@dataclass(frozen=True)
class TextEvaluation(Evaluation):
    """The global model after a round.

    Attributes:
        world_accuracy: Fraction of the test texts of AG News' first class classified correctly.
        sports_accuracy: Likewise of the second.
        business_accuracy: Likewise of the third.
        sci_tech_accuracy: Likewise of the fourth.
        worst_class_accuracy: The least of these; as they, none where a class has no test text.
        worst_mix_accuracy: The least over clients of the accuracy on test texts in the client's mix
            of classes, sum_c p_k(c) accuracy_c: what the global model is worth to the client that
            it serves worst.
        label_total_variation: Mean distance of a client's mix of classes from that of all, 0 to 1,
            clients weighted by their texts: how skewed the partition turned out, whatever alpha is.
    """

    world_accuracy: float
    sports_accuracy: float
    business_accuracy: float
    sci_tech_accuracy: float
    worst_class_accuracy: float
    worst_mix_accuracy: float
    label_total_variation: float


class Evaluator:
    """Evaluates a global model on the test texts and, if asked to, on all training texts.

    Args:
        config: Says where to evaluate, and whether on the training texts, too.
        model: Gets the weights to evaluate.
        data: The data set.
    """

    def __init__(self, config: DistilBertConfig, model: nn.Module, data: FederatedTexts) -> None:
        device = torch.device(config.server_device)
        self._model = model.to(device)
        self._test = data.test_set(device)
        self._train = data.train_set(device) if config.evaluate_train_loss else None
        self._precision = config.precision
        self._label_counts = data.label_counts

    def __call__(self, arrays: ArrayRecord) -> TextEvaluation:
        """Return accuracies and losses."""
        load_arrays(travelling_state(self._model), arrays)
        x, y = self._test
        logits = logits_of(self._model, x, self._label_counts.shape[1], self._precision)
        world, sports, business, sci_tech = of_class = class_accuracies(logits, y)
        train_loss = (
            evaluate_top_k(self._model, *self._train, k=1, precision=self._precision).loss
            if self._train
            else None
        )
        return TextEvaluation(
            (logits.argmax(dim=1) == y).double().mean().item(),
            nn.functional.cross_entropy(logits.double(), y).item(),
            train_loss,
            world_accuracy=world,
            sports_accuracy=sports,
            business_accuracy=business,
            sci_tech_accuracy=sci_tech,
            worst_class_accuracy=float(np.min(of_class)),
            worst_mix_accuracy=worst_mix_accuracy(of_class, self._label_counts),
            label_total_variation=weighted_total_variation(self._label_counts),
        )


def class_accuracies(logits: Tensor, y: Tensor) -> list[float]:
    """Return the fraction of each class that is classified correctly, NaN for one without examples.

    Args:
        logits: Shape [n, classes].
        y: Labels, shape [n].
    """
    correct = (logits.argmax(dim=1) == y).double()
    return [correct[y == label].mean().item() for label in range(logits.shape[1])]


def worst_mix_accuracy(of_class: list[float], label_counts: NDArray[np.int64]) -> float:
    """Return the least accuracy, over clients, on test texts in the client's mix of classes.

    Args:
        of_class: Accuracy of each class.
        label_counts: Texts of each label for each client, shape [clients, classes].
    """
    counts = label_counts[label_counts.sum(axis=1) > 0]
    mixes = counts / counts.sum(axis=1, keepdims=True)
    # What nobody has may be without test texts, and so without an accuracy.
    accuracies = np.where(mixes > 0, mixes * np.array(of_class), 0).sum(axis=1)
    return float(accuracies.min())


def weighted_total_variation(label_counts: NDArray[np.int64]) -> float:
    """Return the mean distance of clients' mixes of classes from that of all, weighted by n_k.

    Args:
        label_counts: Texts of each label for each client, shape [clients, classes].
    """
    distances = np.nan_to_num(total_variation(label_counts))
    return float(np.average(distances, weights=label_counts.sum(axis=1)))
