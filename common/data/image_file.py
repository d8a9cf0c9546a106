"""An image file of any size and origin -> pixels of the size that is trained with.

The transform is torchvision's for evaluation, ``Resize`` and ``CenterCrop`` of PIL images, equal
to the last bit (torchvision 0.28, ``transforms.functional``).
"""

import io
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

# The largest image of ILSVRC-2012 has 61 million. Pillow warns from 89 million on.
MOST_PIXELS: Final = 80_000_000
# No others: the fewer decoders a stranger's file can reach, the better.
_FORMATS: Final = ("JPEG", "PNG", "WEBP")
_TOO_LARGE: Final = f"larger than {MOST_PIXELS // 10**6} megapixels, as stored or as scaled"


@dataclass(frozen=True)
class EvaluationTransform:
    """Scale an image, keeping its proportions, and take a square out of its centre.

    Attributes:
        resize: What its shorter side is scaled to, in pixels.
        crop: Side of the square, in pixels, at most ``resize``.
    """

    resize: int
    crop: int

    def size_for(self, width: int, height: int) -> tuple[int, int]:
        """Return the width and height that an image is scaled to, in pixels."""
        longer = int(self.resize * max(width, height) / min(width, height))
        return (self.resize, longer) if width <= height else (longer, self.resize)

    def apply(self, image: Image.Image) -> Image.Image:
        """Return the transformed image."""
        size = self.size_for(*image.size)
        if size != image.size:
            image = image.resize(size, Image.Resampling.BILINEAR)
        left, top = (round((side - self.crop) / 2) for side in size)
        return image.crop((left, top, left + self.crop, top + self.crop))


class CorruptImageError(ValueError):
    """An image that cannot be decoded; the message completes "the image is ..."."""


def decode_image(file: Path | bytes, transform: EvaluationTransform) -> NDArray[np.uint8]:
    """Return the pixels of an image, in RGB whatever it is stored in.

    Its size is read from the header before anything is decompressed, so that a few bytes cannot
    ask for gigabytes.

    Args:
        file: A JPEG, PNG or WebP, or where there is one.
        transform: Applied to the decoded image.

    Returns:
        uint8, shape [crop, crop, 3].

    Raises:
        CorruptImageError: It is none of these, or damaged, or too large.
        MemoryError: There is no memory for its pixels.
    """
    try:
        if isinstance(file, Path) and not stat.S_ISREG(file.stat().st_mode):
            raise CorruptImageError("no file")  # To open a pipe would be to wait for its writer.
        source = file if isinstance(file, Path) else io.BytesIO(file)
        with Image.open(source, formats=_FORMATS) as image:
            _refuse_large(image.size, transform)
            return np.asarray(transform.apply(image.convert("RGB")))
    except (CorruptImageError, MemoryError):
        raise
    except UnidentifiedImageError:
        raise CorruptImageError("no JPEG, PNG or WebP") from None
    except Image.DecompressionBombError:
        raise CorruptImageError(_TOO_LARGE) from None
    except Exception as error:  # Pillow raises half a dozen unrelated types for a damaged file.
        reason = getattr(error, "strerror", None) or "damaged or cut off"
        raise CorruptImageError(f"not readable ({reason})") from None


def _refuse_large(size: tuple[int, int], transform: EvaluationTransform) -> None:
    for width, height in (size, transform.size_for(*size)):
        if width * height > MOST_PIXELS:
            raise CorruptImageError(_TOO_LARGE)
