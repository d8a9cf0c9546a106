"""Texts -> tokens, cut to a length, and batches of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Texts that the tokenizer, which works in threads, gets at once.
_CHUNK = 10_000


@dataclass(frozen=True)
class TextBatch:
    """Some texts, all as long as the longest.

    Attributes:
        tokens: Token ids, int64 [batch, length], or hidden states, float32 [batch, length, width].
        mask: True for a text's own tokens, bool [batch, length]; what fills up is arbitrary.
    """

    tokens: Tensor
    mask: Tensor


@dataclass(frozen=True)
class TokenizedTexts:
    """Texts as tokens, one text behind the other; text i has ids[offsets[i]:offsets[i + 1]].

    Attributes:
        ids: Token ids, int64 [tokens].
        offsets: Where texts begin, int64 [texts + 1].
        num_truncated: Texts that were longer, and have lost their end.
        num_empty: Texts without a word, of which the special tokens are left.
    """

    ids: NDArray[np.int64]
    offsets: NDArray[np.int64]
    num_truncated: int
    num_empty: int

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of every text, int64 [texts]."""
        return np.diff(self.offsets)


def tokenize(tokenizer: Any, texts: Sequence[str], max_length: int) -> TokenizedTexts:
    """Turn texts into tokens.

    Args:
        tokenizer: A fast one of Hugging Face.
        texts: At least one.
        max_length: The most tokens of a text, special tokens among them.

    Returns:
        The tokens of each text, in the order of the texts.
    """
    ids: list[NDArray[np.int64]] = []
    num_truncated = num_empty = 0
    num_special = tokenizer.num_special_tokens_to_add()
    for start in range(0, len(texts), _CHUNK):
        encodings = tokenizer(
            list(texts[start : start + _CHUNK]), truncation=True, max_length=max_length
        ).encodings
        ids += [np.array(encoding.ids, dtype=np.int64) for encoding in encodings]
        is_cut = [bool(encoding.overflowing) for encoding in encodings]
        num_truncated += sum(is_cut)
        num_empty += sum(
            len(encoding.ids) <= num_special and not cut
            for encoding, cut in zip(encodings, is_cut, strict=True)
        )
    lengths = [len(of_text) for of_text in ids]
    return TokenizedTexts(
        ids=np.concatenate(ids),
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        num_truncated=num_truncated,
        num_empty=num_empty,
    )


class TokenInputs:
    """Texts, or what frozen layers make of their tokens, of which a batch is read when asked for.

    Args:
        rows: A row a token, of all texts: ids [tokens] or hidden states [tokens, width]; may be
            memory-mapped.
        offsets: Where texts begin in it, int64 [all texts + 1].
        texts: Which of them are the examples, int64 [n].
        device: The model's.
    """

    def __init__(
        self,
        rows: NDArray[Any],
        offsets: NDArray[np.int64],
        texts: NDArray[np.int64],
        device: torch.device,
    ) -> None:
        # Indexing a memory map as such makes another memory map, which takes ten times as long.
        self._rows = np.asarray(rows)
        self._starts = offsets[texts]
        self._lengths = np.diff(offsets)[texts]
        self._device = device

    def __len__(self) -> int:
        return len(self._starts)

    def take(self, examples: Tensor) -> TextBatch:
        """Return some texts.

        Args:
            examples: Which, int64 on the CPU, shape [batch].
        """
        chosen = examples.numpy()
        lengths = self._lengths[chosen, None]
        places = np.arange(lengths.max())
        # A shorter text is filled up with its last token, for something has to be there.
        rows = self._starts[chosen, None] + np.minimum(places, lengths - 1)
        tokens = torch.from_numpy(self._rows[rows])
        mask = torch.from_numpy(places < lengths)
        return TextBatch(tokens.to(self._device), mask.to(self._device))


class ThroughFrozenLayers:
    """Texts of which the frozen layers' output is computed anew whenever a batch is asked for.

    It is what is cached for them, but for rounding: the layers are in float32, whatever a client
    trains in.

    Args:
        frozen_layers: Takes a batch of token ids; draws nothing.
        texts: Gives token ids, on the layers' device.
    """

    def __init__(self, frozen_layers: Callable[[TextBatch], TextBatch], texts: TokenInputs) -> None:
        self._frozen_layers = frozen_layers
        self._texts = texts

    def __len__(self) -> int:
        return len(self._texts)

    @torch.no_grad()
    def take(self, examples: Tensor) -> TextBatch:
        """Return the hidden states of some texts.

        Args:
            examples: Which, int64 on the CPU, shape [batch].
        """
        batch = self._texts.take(examples)
        with torch.autocast(batch.tokens.device.type, enabled=False):
            return self._frozen_layers(batch)
