"""Encoded images -> arrays, in parallel, in order and in little memory."""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from common.data.image_file import CorruptImageError, EvaluationTransform, decode_image
from common.data.image_split import EncodedImage

# Enough for a thread to be worth a call.
_PART: Final = 16


class DecodedPart(NamedTuple):
    """Some consecutive images of a split.

    Attributes:
        images: Those that could be decoded, uint8 [images, side, side, 3].
        labels: Their labels, int64 [images].
        corrupt: Which could not, and why.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    corrupt: list[str]

    @property
    def num_seen(self) -> int:
        """Number of images, corrupt ones among them."""
        return len(self.labels) + len(self.corrupt)


def decode_in_parallel(
    images: Iterable[EncodedImage], transform: EvaluationTransform
) -> Iterator[DecodedPart]:
    """Decode images on all cores; no more of them are read than the threads have to do.

    Args:
        images: In the order in which they are wanted.
        transform: Applied to each.
    """
    num_threads = os.cpu_count() or 1
    remaining = iter(images)
    decoding: deque[Future[DecodedPart]] = deque()
    # Pillow lets go of Python's lock while it decodes and scales.
    with ThreadPoolExecutor(num_threads) as pool:
        try:
            while part := list(islice(remaining, _PART)):
                decoding.append(pool.submit(_decode, part, transform))
                if len(decoding) > 2 * num_threads:
                    yield decoding.popleft().result()
            while decoding:
                yield decoding.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _decode(part: Sequence[EncodedImage], transform: EvaluationTransform) -> DecodedPart:
    images = np.empty((len(part), transform.crop, transform.crop, 3), np.uint8)
    labels: list[int] = []
    corrupt: list[str] = []
    for image in part:
        try:
            images[len(labels)] = decode_image(image.file, transform)
        except CorruptImageError as error:
            corrupt.append(f"{image.name} is {error}")
        else:
            labels.append(image.label)
    return DecodedPart(images[: len(labels)], np.array(labels, np.int64), corrupt)
