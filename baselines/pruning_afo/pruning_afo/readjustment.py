"""How a client changes the mask of a layer: it removes entries, and grows as many others."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.compression.top_k import top_k


def remove(is_kept: NDArray[np.bool_], w: NDArray[Any], share: float) -> NDArray[np.bool_]:
    """Return what is left of a layer without the share of its kept entries of smallest magnitude.

    Args:
        is_kept: What is kept of the layer.
        w: Its weights, finite, in the same shape.
        share: Of the kept entries, in [0, 1]; rounded down to whole entries.
    """
    kept = np.flatnonzero(is_kept)
    return _with(
        np.zeros_like(is_kept), kept, np.ravel(w)[kept], len(kept) - int(share * len(kept))
    )


def grow(is_kept: NDArray[np.bool_], gradient: NDArray[Any], count: int) -> NDArray[np.bool_]:
    """Return what is kept of a layer, and of what is not the entries of largest gradient.

    Entries just removed may come back, as in RigL (Evci et al. 2020, arXiv 1911.11134).

    Args:
        is_kept: What is kept of the layer.
        gradient: Of all its entries, finite, in the same shape.
        count: How many to add; there are as many.
    """
    free = np.flatnonzero(~is_kept)
    return _with(is_kept, free, np.ravel(gradient)[free], count)


def _with(
    is_kept: NDArray[np.bool_], indices: NDArray[np.int64], scores: NDArray[Any], count: int
) -> NDArray[np.bool_]:
    """Return a mask with those indices added whose scores have the largest magnitudes."""
    (chosen,) = top_k([scores.astype(np.float32, copy=False)], count)
    grown = is_kept.copy()
    grown.reshape(-1)[indices[chosen]] = True
    return grown
