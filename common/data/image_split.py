"""One split of an image data set, whatever way it is stored in."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from common.data.columns import decode_labels, encoded_images
from common.data.store import StoredSplit


class EncodedImage(NamedTuple):
    """An image before it is decoded.

    Attributes:
        label: Its class.
        name: What it is called in a message.
        file: Its content, or where that is.
    """

    label: int
    name: str
    file: bytes | Path


class ImageSplit(Protocol):
    """Images that are streamed, because together they may be larger than memory."""

    @property
    def num_classes(self) -> int:
        """Labels are 0..num_classes-1."""

    @property
    def fingerprint(self) -> str:
        """Tells the images from any others, without reading them.

        Raises:
            UserInputError: They are not stored as they must be.
        """

    def count(self) -> int:
        """Check everything but the images themselves, and return how many there are.

        Raises:
            UserInputError: A label is not allowed, or the images are not stored as they must be.
        """

    def images(self) -> Iterator[EncodedImage]:
        """Yield all images."""


@dataclass(frozen=True)
class ImageTable:
    """The images of a stored split, in the Hugging Face schema.

    Attributes:
        rows: The split.
        image_column: Its column of structs with the field ``bytes``.
        label_column: Its column of integers.
        num_classes: What they are below.
    """

    rows: StoredSplit
    image_column: str
    label_column: str
    num_classes: int

    @property
    def fingerprint(self) -> str:
        """As documented for an image split."""
        return self.rows.fingerprint

    def count(self) -> int:
        """As documented for an image split."""
        pieces = self.rows.pieces([self.label_column])
        return sum(len(decode_labels(x, self.label_column, self.num_classes)) for x in pieces)

    def images(self) -> Iterator[EncodedImage]:
        """As documented for an image split."""
        for piece in self.rows.pieces([f"{self.image_column}.bytes", self.label_column]):
            labels = decode_labels(piece, self.label_column, self.num_classes)
            encoded = encoded_images(piece, self.image_column)
            for i, (label, image) in enumerate(zip(labels.tolist(), encoded, strict=True)):
                name = f"row {piece.first_row + i} of {piece.source!r}"
                yield EncodedImage(label, name, image.as_py())
