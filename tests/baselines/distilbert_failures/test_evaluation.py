import math

import numpy as np
import pytest
import torch
from distilbert_failures.dataset import load_dataset
from distilbert_failures.evaluation import (
    Evaluator,
    class_accuracies,
    weighted_total_variation,
    worst_mix_accuracy,
)
from distilbert_failures.lora import travelling_state
from distilbert_failures.model import make_tail

from common.arrays import to_arrays
from common.experiment.evaluation import evaluate_top_k

CPU = torch.device("cpu")


def test_class_accuracies_by_hand():
    logits = torch.eye(3)[[0, 1, 0, 2, 1]]
    assert class_accuracies(logits, torch.tensor([0, 0, 0, 2, 2])) == pytest.approx(
        [2 / 3, math.nan, 1 / 2], nan_ok=True
    )


def test_worst_mix_by_hand():
    """Clients' test sets are 0.5, 0.25 * 1 + 0.75 * 0.2 and 1; one has no texts."""
    counts = np.array([[2, 0, 2], [1, 3, 0], [0, 0, 0], [5, 0, 0]])
    assert worst_mix_accuracy([1.0, 0.2, 0.0], counts) == pytest.approx(0.4)
    assert worst_mix_accuracy([0.3, 0.2, 0.9], counts[3:]) == 0.3


def test_weighted_total_variation_by_hand():
    """All have (3/4, 1/4); a client of three texts is 1/4 away, one of a single text 3/4."""
    counts = np.array([[3, 0], [0, 0], [0, 1]])
    assert weighted_total_variation(counts) == pytest.approx((3 * 0.25 + 1 * 0.75) / 4)
    assert weighted_total_variation(np.array([[2, 4], [1, 2]])) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("trainable", ["last_2", "lora"])
def test_figures_are_those_of_all_texts(make_config, trainable):
    config = make_config(trainable=trainable, evaluate_train_loss=True)
    data, tail = load_dataset(config), make_tail(config, 4)
    arrays = to_arrays(travelling_state(tail))
    found = Evaluator(config, make_tail(make_config(trainable=trainable, seed=1), 4), data)(arrays)
    test = evaluate_top_k(tail, *data.test_set(CPU), k=1)
    assert found.test_accuracy == test.accuracy
    assert found.test_loss == pytest.approx(test.loss, rel=1e-6)
    assert found.train_loss == evaluate_top_k(tail, *data.train_set(CPU), k=1).loss
    of_class = [
        *(found.world_accuracy, found.sports_accuracy),
        *(found.business_accuracy, found.sci_tech_accuracy),
    ]
    # There are as many test texts of each class.
    assert np.mean(of_class) == pytest.approx(found.test_accuracy)
    assert found.worst_class_accuracy == min(of_class) < max(of_class)
    assert found.worst_mix_accuracy == worst_mix_accuracy(of_class, data.label_counts)
    assert found.label_total_variation == weighted_total_variation(data.label_counts) > 0.1


def test_the_training_loss_is_for_who_asks(make_config):
    config = make_config()
    tail = make_tail(config, 4)
    evaluate = Evaluator(config, tail, load_dataset(config))
    assert evaluate(to_arrays(travelling_state(tail))).train_loss is None
