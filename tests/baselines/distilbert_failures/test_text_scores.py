from typing import get_args

import numpy as np
import pytest
from distilbert_failures.text_scores import (
    Style,
    TokenStatistic,
    score_quartiles,
    style_scores,
    token_scores,
)

from common.partition import label_counts, score_ranges, total_variation

TEXTS = ["The cat, the dog.", "a", "", " \n", "The  end: a; b"]
# In lower case "the" three times, and "cat,", "dog.", "a", "end:", "a;" and "b" once each.
NUM_WORDS = 9


@pytest.mark.parametrize(
    ("style", "expected"),
    [
        ("length", [4, 1, 0, 0, 4]),
        ("formality", [2 / 17, 0, 0, 0, 2 / 14]),
        ("complexity", [14 / 4, 1, 0, 0, 10 / 4]),
    ],
)
def test_style_by_hand(style, expected):
    scores = style_scores(TEXTS, style)
    assert scores.dtype == np.float64
    np.testing.assert_allclose(scores, expected, rtol=1e-15)


@pytest.mark.parametrize(
    ("statistic", "expected"),
    [
        ("frequency", [(3 + 1 + 3 + 1) / 4 / NUM_WORDS, 1 / NUM_WORDS, 0, 0, 6 / 4 / NUM_WORDS]),
        ("truncation", [17, 1, 0, 2, 14]),
        ("vocabulary", [3 / 4, 1, 0, 0, 1]),
    ],
)
def test_token_statistics_by_hand(statistic, expected):
    scores = token_scores(TEXTS, statistic)
    assert scores.dtype == np.float64
    np.testing.assert_allclose(scores, expected, rtol=1e-15)


def test_all_marks_of_formality_count_and_no_others():
    assert style_scores([".,:;", "!?-'"], "formality").tolist() == [1, 0]


def test_the_frequency_of_a_word_is_that_in_all_texts():
    alone, among_others = (
        token_scores(["a"], "frequency"),
        token_scores(["a", "b b b"], "frequency"),
    )
    assert (alone[0], among_others[0]) == (1, 1 / 4)


@pytest.mark.parametrize("texts", [[""], ["", ""]])
def test_nothing_but_empty_texts(texts):
    for style in get_args(Style):
        assert style_scores(texts, style).tolist() == [0] * len(texts)
    for statistic in get_args(TokenStatistic):
        assert token_scores(texts, statistic).tolist() == [0] * len(texts)


def test_quartiles_by_rank():
    assert score_quartiles(np.array([9.0, 1.0, 1.0, 5.0, 7.0, 1.0])).tolist() == [3, 0, 0, 1, 2, 1]


def test_the_skew_of_a_partition_by_score_is_measured_on_its_quartiles():
    """Four clients of one quartile each, of 25 % of the texts, are 75 % from the overall mix."""
    scores = style_scores(["word " * n for n in range(20)], "length")
    counts = label_counts(score_ranges(scores, 4), score_quartiles(scores), 4)
    assert total_variation(counts).tolist() == [0.75] * 4
