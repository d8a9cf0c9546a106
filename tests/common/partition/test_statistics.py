import dataclasses
import json

import numpy as np
import pytest

from common.partition import Partition, label_counts, summarise, total_variation

LABELS = np.array([0, 0, 1, 1, 2, 0, 1, 0])


def partition(*rows):
    return Partition.from_rows([np.array(row, dtype=np.int64) for row in rows])


def test_label_counts_by_hand():
    counts = label_counts(partition([0, 1, 2], [], [7, 3, 4, 5, 6]), LABELS, 4)
    assert counts.tolist() == [[2, 1, 0, 0], [0, 0, 0, 0], [2, 2, 1, 0]]
    assert counts.dtype == np.int64


def test_label_counts_of_a_part_of_the_training_set():
    assert label_counts(partition([4], [5]), LABELS, 3).tolist() == [[0, 0, 1], [1, 0, 0]]


def test_label_counts_refuses_too_few_classes():
    with pytest.raises(ValueError, match="num_classes") as caught:
        label_counts(partition([0]), LABELS, 2)
    assert str(caught.value) == (
        "num_classes=2 is not allowed: it must be above the largest label, 2."
    )


def test_total_variation_by_hand():
    # Overall (1/2, 1/2); client 0 (1, 0), client 1 (1/4, 3/4), client 2 (1/2, 1/2).
    counts = np.array([[2, 0], [1, 3], [1, 1]])
    assert total_variation(counts).tolist() == [0.5, 0.25, 0.0]


def test_total_variation_of_clients_with_nothing_in_common():
    assert total_variation(np.eye(4, dtype=np.int64)).tolist() == [0.75] * 4


def test_total_variation_of_an_empty_client_is_nan():
    distances = total_variation(np.array([[3, 1], [0, 0]]))
    assert distances[0] == 0.0
    assert np.isnan(distances[1])


def test_summary_by_hand():
    # Sizes 2, 0, 4, 2; overall (1/2, 3/8, 1/8); mixes (1, 0, 0), (1/4, 1/2, 1/4), (1/2, 1/2, 0).
    summary = summarise(partition([0, 1], [], [2, 3, 4, 5], [6, 7]), LABELS, 3)
    assert dataclasses.asdict(summary) == {
        "num_clients": 4,
        "num_empty_clients": 1,
        "num_examples": 8,
        "min_size": 0,
        "median_size": 2.0,
        "mean_size": 2.0,
        "std_size": pytest.approx(np.sqrt(2)),
        "max_size": 4,
        "mean_labels_per_client": 2.0,
        "mean_total_variation": pytest.approx((0.5 + 0.25 + 0.125) / 3),
        "weighted_mean_total_variation": pytest.approx((2 * 0.5 + 4 * 0.25 + 2 * 0.125) / 8),
        "max_total_variation": 0.5,
    }


def test_summary_survives_json():
    fields = dataclasses.asdict(summarise(partition([0, 1], [], [2]), LABELS, 3))
    assert json.loads(json.dumps(fields, allow_nan=False)) == fields


def test_summary_refuses_a_partition_without_examples():
    message = r"^len\(partition\.indices\)=0 is not allowed: it must be at least 1\.$"
    with pytest.raises(ValueError, match=message):
        summarise(partition([], []), LABELS, 3)
