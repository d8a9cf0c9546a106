"""Scores of texts by which they are shared out, so that clients differ in style or in tokens.

They are the six of an earlier study of DistilBERT's failure modes, which defines its style skew
and its token skew by them. A word is what stands between white space.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from common.partition import score_quantiles
from distilbert_failures.config import Style, TokenStatistic

Scores = NDArray[np.float64]

NUM_QUARTILES: Final = 4
_FORMAL: Final = ".,:;"


def style_scores(texts: Sequence[str], style: Style) -> Scores:
    """Score the style of texts; an empty text has 0.

    Args:
        texts: One or more.
        style: "length", the number of words; "formality", the share of characters that are full
            stops, commas, colons or semicolons; or "complexity", the mean number of characters of
            a word.

    Returns:
        Scores, shape [texts].
    """
    return _scored(texts, _STYLES[style])


def token_scores(texts: Sequence[str], statistic: TokenStatistic) -> Scores:
    """Score the words of texts; an empty text has 0.

    Args:
        texts: One or more, which together decide how frequent a word is: all training texts.
        statistic: "frequency", the mean over a text's words of their share of all words of all
            texts; "truncation", the number of characters, on which it depends what is cut off; or
            "vocabulary", the share of different words among a text's words. Upper and lower case
            make no different words.

    Returns:
        Scores, shape [texts].
    """
    if statistic == "frequency":
        return _frequencies(texts)
    return _scored(texts, _TOKEN_STATISTICS[statistic])


def score_quartiles(scores: Scores) -> NDArray[np.int64]:
    """Return the quarter of the texts that each is in by its score, 0 (lowest) to 3.

    The quarters are classes on which the realised skew of a partition by score is measured.

    Args:
        scores: Finite, shape [texts].

    Raises:
        UserInputError: If a score is not finite, or there are none.
    """
    return score_quantiles(scores, NUM_QUARTILES)


def _scored(texts: Sequence[str], score: Callable[[str], float]) -> Scores:
    return np.fromiter(map(score, texts), dtype=np.float64, count=len(texts))


def _length(text: str) -> float:
    return len(text.split())


def _formality(text: str) -> float:
    return sum(map(text.count, _FORMAL)) / max(len(text), 1)


def _complexity(text: str) -> float:
    words = text.split()
    return sum(map(len, words)) / max(len(words), 1)


def _vocabulary(text: str) -> float:
    words = text.lower().split()
    return len(set(words)) / max(len(words), 1)


def _frequencies(texts: Sequence[str]) -> Scores:
    """Return the mean relative frequency of each text's words among the words of all texts."""
    counts = Counter(word for text in texts for word in text.lower().split())
    total = max(counts.total(), 1)

    def frequency(text: str) -> float:
        words = text.lower().split()
        # One sum of whole numbers: the order of the words cannot make a difference.
        return sum(map(counts.__getitem__, words)) / (max(len(words), 1) * total)

    return _scored(texts, frequency)


_STYLES: Final[dict[Style, Callable[[str], float]]] = {
    "length": _length,
    "formality": _formality,
    "complexity": _complexity,
}
_TOKEN_STATISTICS: Final[dict[TokenStatistic, Callable[[str], float]]] = {
    "truncation": len,
    "vocabulary": _vocabulary,
}
