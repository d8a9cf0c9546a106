"""FEMNIST, the letters 'a' to 'j' of it, as in the FedProx paper (Li et al. 2020, 1812.06127).

The paper says of its FEMNIST: 18,345 examples of ten lower-case letters on 200 devices (Table 1),
five letters on each. Which images these are cannot be known. The authors' generator
(github.com/litian96/FedProx, data/nist/data/my_sample.py) draws them without a seed, gives three
letters to a device, and goes back to a letter's first image whenever there are images left
(``if idx + n < len(pool): idx = 0``, so to speak), so that all devices with a letter hold the same
images of it; the author agreed that this is a mistake (issue 13). So it is not followed: here the
images are chosen by a rule, and who holds which is left to the partitioner.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.data.arrays import ArrayDataset
from common.data.cache import image_layouts, memory_mapped
from common.data.columns import decode_images, decode_labels
from common.data.store import fingerprint, load_split

# The hub has this one only, with all examples.
SPLIT = "train"
# In this order: 0 to 9, A to Z, a to z (the hub's data card, and LEAF's relabel_class).
NUM_CHARACTERS = 62
LABEL_OF_A = 36
NUM_CLASSES = 10
NUM_EXAMPLES = 18_345
HEIGHT = WIDTH = 28
# One example of so many is for testing: the paper holds out a tenth.
_TEST_EVERY = 10

# Part of the cache's key: to be counted up when the same files are decoded to something else.
_DECODING = 1


def femnist() -> ArrayDataset:
    """Load the letters 'a' to 'j' of FEMNIST from ``$FLOWERBED_DATA/femnist`` or the hub.

    The pixels are as stored. LEAF, from where the hub has them, leaves ink at 0 and paper at 255:
    the reverse of MNIST.

    Returns:
        Images uint8 [16515, 28, 28] and [1830, 28, 28], or fewer of a letter of which the file has
        fewer than 1,835; labels int64, 0 for 'a' to 9 for 'j'. They are in the file's order, which
        on the hub is by writer.

    Raises:
        UserInputError: It is neither on disk nor reachable, or damaged, or not FEMNIST, or has too
            few examples to test with any; or the cache folder cannot be used.
    """
    key = f"femnist-{_DECODING}-{fingerprint('femnist', (SPLIT,))}"
    return ArrayDataset.of(memory_mapped(key, image_layouts((HEIGHT, WIDTH)), _decode), NUM_CLASSES)


def _decode() -> dict[str, NDArray[Any]]:
    split = load_split("femnist", "flwrlabs/femnist", SPLIT, ("image.bytes", "character"))
    letters = decode_labels(split, "character", NUM_CHARACTERS) - LABEL_OF_A
    train, test = select_rows(letters, NUM_EXAMPLES)
    if len(test) == 0:
        raise split.refused(
            f"must have at least {_TEST_EVERY} rows of one of the letters 'a' to 'j' (labels "
            f"{LABEL_OF_A} to {LABEL_OF_A + NUM_CLASSES - 1} in the column 'character')"
        )
    arrays: dict[str, NDArray[Any]] = {}
    for name, rows in (("train", train), ("test", test)):
        arrays[f"y_{name}"] = letters[rows]
        arrays[f"x_{name}"] = decode_images(split, "image", "L", HEIGHT, WIDTH, rows.tolist())
    return arrays


def select_rows(
    letters: NDArray[np.int64], num_examples: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Choose the rows to train with and those to test with, as many of every letter.

    Of each letter they are evenly spaced over the file, so that its writers are represented
    evenly, too. Every tenth of them tests.

    Args:
        letters: Which letter a row has, 0 for 'a', shape [rows]; other characters are outside of
            0..9.
        num_examples: How many rows to choose, of both kinds; if they cannot be shared out evenly,
            the first letters get one more. A letter that has fewer than its share has all chosen.

    Returns:
        The rows to train with and those to test with, ascending, int64 [train rows] and
        int64 [test rows]. There are some to train with if there are any to test with.
    """
    train, test = [], []
    share, remainder = divmod(num_examples, NUM_CLASSES)
    for letter in range(NUM_CLASSES):
        rows = np.flatnonzero(letters == letter)
        rows = _evenly_spaced(rows, share + (letter < remainder))
        tests = np.arange(1, len(rows) + 1) % _TEST_EVERY == 0
        train.append(rows[~tests])
        test.append(rows[tests])
    return np.sort(np.concatenate(train)), np.sort(np.concatenate(test))


def _evenly_spaced(rows: NDArray[np.int64], number: int) -> NDArray[np.int64]:
    """Return so many of the rows, evenly spaced from the first on; all if there are no more."""
    if number >= len(rows):
        return rows
    return rows[np.arange(number) * len(rows) // number]
