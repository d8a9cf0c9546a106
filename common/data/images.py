"""Image data sets of any size: decoded once, to arrays of one size of image on disk."""

import sys
import warnings
from collections.abc import Sequence
from functools import partial
from typing import Final, Literal

import numpy as np

from common.data.arrays import ChosenRows, ImageDataset
from common.data.cache import Arrays, ArrayWriter, Copy, memory_mapped_in_parts
from common.data.cifar10 import CIFAR10
from common.data.decoding import decode_in_parallel
from common.data.image_file import EvaluationTransform
from common.data.image_source import ImageSource, SplitNames
from common.data.image_split import ImageSplit
from common.data.imagenet import IMAGENET, hold_out
from common.data.imagenette import IMAGENETTE
from common.data.npy import Layout
from common.data.progress import OnceProgress
from common.data.tiny_imagenet import TINY_IMAGENET
from common.errors import UserInputError
from common.randomness import Purpose, generator

OnCorruptImage = Literal["end", "skip"]

_SOURCES: Final = {
    "cifar10": CIFAR10,
    "imagenet": IMAGENET,
    "imagenette": IMAGENETTE,
    "tiny_imagenet": TINY_IMAGENET,
}
IMAGENET_VAL: Final = "imagenet_val"

# Part of the cache's key: to be counted up when the same files are decoded to something else.
_DECODING: Final = 1
# How many corrupt images are named.
_NAMED: Final = 3


def load_images(
    name: str, image_size: int, on_corrupt_image: OnCorruptImage, seed: int
) -> ImageDataset:
    """Load an image data set from ``$FLOWERBED_DATA`` or the hub.

    It is looked for as parquet files, ``$FLOWERBED_DATA/<name>/<split>.parquet`` or the hub's
    shards, then in class folders, ``$FLOWERBED_DATA/<name>/{train,val}/<WordNet id>/*.JPEG``, then
    on the hub. "imagenet_val" is read from where "imagenet" is.

    What it is decoded to does not depend on the seed, nor on what is done with corrupt images.

    Args:
        name: "imagenet", "imagenet_val", "imagenette", "tiny_imagenet" or "cifar10".
        image_size: Side of the images returned, in pixels. They are scaled and cropped as
            torchvision does to evaluate.
        on_corrupt_image: What is done if images cannot be decoded: "end" refuses the data set,
            "skip" leaves them out and tells how many they are.
        seed: The run's seed. It decides which images of "imagenet_val" are to test with, a tenth
            of every class.

    Returns:
        Images uint8 [n, image_size, image_size, 3], memory-mapped read-only, and labels int64 [n].
        The labels of class folders are their positions in sorted order; ``num_classes`` is their
        number, which of a part of ImageNet is less than 1000.

    Raises:
        UserInputError: The data set is neither on disk nor reachable, or is not stored as it must
            be; or there are corrupt images and that ends it; or the cache folder cannot be used.
        KeyError: There is no image data set of that name.
    """
    if name == IMAGENET_VAL:
        wanted = [IMAGENET.test]
        num_classes, (val,) = _load(name, IMAGENET, wanted, image_size, on_corrupt_image)
        train_rows, test_rows = hold_out(val["y"], generator(seed, Purpose.DATA))
        return ImageDataset(
            x_train=ChosenRows(val["x"], train_rows),
            y_train=val["y"][train_rows],
            x_test=ChosenRows(val["x"], test_rows),
            y_test=val["y"][test_rows],
            num_classes=num_classes,
        )
    source = _SOURCES[name]
    wanted = [source.train, source.test]
    num_classes, (train, test) = _load(name, source, wanted, image_size, on_corrupt_image)
    return ImageDataset(
        ChosenRows(train["x"]), train["y"], ChosenRows(test["x"]), test["y"], num_classes
    )


def _load(
    name: str,
    source: ImageSource,
    wanted: Sequence[SplitNames],
    image_size: int,
    on_corrupt_image: OnCorruptImage,
) -> tuple[int, list[Arrays]]:
    """Return the number of classes, and the images "x" and labels "y" of each split wanted."""
    splits = source.find(name, wanted)
    transform = source.transform(image_size)
    layouts = {"x": Layout(np.uint8, (image_size, image_size, 3)), "y": Layout(np.int64, ())}
    copies = []
    for split, names in zip(splits, wanted, strict=True):
        title = f"{source.folder}-{names.hub}"
        key = f"{title}-{transform.resize}-{transform.crop}-{_DECODING}-{split.fingerprint}"
        others = [other for other in splits if other is not split]
        decode = partial(_decode, name, title, split, others, transform)
        copies.append(memory_mapped_in_parts(key, layouts, decode))
    _judge_corrupt_images(name, copies, on_corrupt_image)
    return splits[0].num_classes, [copy.arrays for copy in copies]


def _decode(
    name: str,
    title: str,
    split: ImageSplit,
    others: Sequence[ImageSplit],
    transform: EvaluationTransform,
    writer: ArrayWriter,
) -> list[str]:
    """Write the images "x" and labels "y" of a split; return which are corrupt, and why."""
    num_images = split.count()
    for other in others:  # What is wrong with another is found now, and not after hours of work.
        other.count()
    writer.require_space(num_images)
    corrupt: list[str] = []
    # Pillow warns of what surrounds the pixels, once for each of a million files.
    with warnings.catch_warnings(), OnceProgress(f"decoding {title}", num_images) as progress:
        warnings.simplefilter("ignore")
        for part in decode_in_parallel(split.images(), transform):
            writer.append({"x": part.images, "y": part.labels})
            corrupt += part.corrupt
            progress.advance(part.num_seen)
    if len(corrupt) == num_images:
        raise UserInputError(
            f"dataset={name!r} cannot be loaded: none of the {num_images:,} images of {title} can "
            f"be decoded ({_first(corrupt)})."
        )
    return corrupt


def _judge_corrupt_images(
    name: str, copies: Sequence[Copy], on_corrupt_image: OnCorruptImage
) -> None:
    """Refuse corrupt images, or tell how many they are."""
    corrupt = [image for copy in copies for image in copy.remarks]
    if not corrupt:
        return
    num_images = len(corrupt) + sum(len(copy.arrays["y"]) for copy in copies)
    found = f"{len(corrupt):,} of its {num_images:,} images are corrupt ({_first(corrupt)})"
    if on_corrupt_image == "end":
        raise UserInputError(
            f"dataset={name!r} cannot be loaded: {found}, which on_corrupt_image='end' does not "
            "allow, but 'skip' does."
        )
    print(f"dataset={name!r}: {found} and left out", file=sys.stderr)


def _first(corrupt: Sequence[str]) -> str:
    more = ["..."] if len(corrupt) > _NAMED else []
    return "; ".join([*corrupt[:_NAMED], *more])
