"""Which entries of a model matter most, of those that are kept."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.compression.top_k import top_k
from pruning_afo.config import Importance
from pruning_afo.masks import Mask, mask_of_indices

Tensors = Mapping[str, NDArray[Any]]


def score_entries(
    importance: Importance, w: Tensors, update: Tensors
) -> dict[str, NDArray[np.float32]]:
    """Return numbers whose magnitudes say how much the entries of a model matter.

    - weight: w (magnitude pruning, such as in Zhu & Gupta 2017, arXiv 1710.01878).
    - gradient: g.
    - taylor: w g. Its square is what the loss changes by, to first order, once an entry is zero
      (Molchanov et al. 2019, arXiv 1906.10771); ranks are those of the magnitude.

    For g, which a server has not, stands the pseudo-gradient of the round, the mean of the clients'
    updates: it costs no byte, for clients send it anyway, and after one local step without momentum
    it is -eta times the gradient of the global objective, of which only ranks matter. After many
    steps it is about the sum of the gradients on the way.

    Args:
        importance: Which of them.
        w: Weights.
        update: The mean update of the round.
    """
    match importance:
        case "weight":
            return {name: np.asarray(w_i, np.float32) for name, w_i in w.items()}
        case "gradient":
            return {name: np.asarray(update[name], np.float32) for name in w}
        case "taylor":
            return {
                name: np.multiply(w_i, update[name], dtype=np.float32) for name, w_i in w.items()
            }


def keep_per_layer(mask: Mask, scores: Tensors, counts: Mapping[str, int]) -> Mask:
    """Prune each parameter to a number of entries, those of largest magnitude.

    Ties go to the lowest index. What is pruned stays pruned.

    Args:
        mask: What is kept so far.
        scores: In the shapes of the mask; finite.
        counts: Entries to keep of each parameter; where fewer are kept so far, these are.

    Returns:
        What is kept from now on.
    """
    indices = []
    for name, kept in mask.is_kept.items():
        candidates = np.flatnonzero(kept)
        packed = np.ravel(scores[name])[candidates]
        (chosen,) = top_k([packed], min(counts[name], len(candidates)))
        indices.append(candidates[chosen])
    return mask_of_indices(mask.shapes, indices)


def keep_globally(mask: Mask, scores: Tensors, density: float) -> Mask:
    """Prune all parameters together to a density: the entries of largest magnitude of all.

    The largest entry of each parameter is kept whatever it is, lest no signal passes. Ties go to
    the first parameter, and in it to the lowest index. What is pruned stays pruned.

    Args:
        mask: What is kept so far.
        scores: In the shapes of the mask; finite.
        density: Of all entries, in (0, 1].

    Returns:
        What is kept from now on.
    """
    candidates = [np.flatnonzero(kept) for kept in mask.is_kept.values()]
    packed = [
        np.ravel(scores[name])[kept] for name, kept in zip(mask.is_kept, candidates, strict=True)
    ]
    for values in packed:
        if len(values):
            values[np.argmax(np.abs(values))] = np.finfo(np.float32).max
    count = max(round(density * mask.size), len(packed))
    chosen = top_k(packed, min(count, sum(map(len, packed))))
    return mask_of_indices(
        mask.shapes, [kept[among] for kept, among in zip(candidates, chosen, strict=True)]
    )
