"""Imagenette in small, and weights for it, which nobody trained."""

import io
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision.models import get_model

SIZE = 32
NUM_CLASSES = 10
# Images of a class.
NUM_TRAIN, NUM_TEST = 8, 3
TRUNK = "trunk.pth"

# So that a class can be told from its colour, and no two images are the same.
_NOISE = 48


def images_of(labels: Sequence[int], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return an image for every label, shape [labels, SIZE, SIZE, 3]."""
    colours = np.random.default_rng(0).integers(_NOISE, 256 - _NOISE, (NUM_CLASSES, 1, 1, 3))
    noise = rng.integers(-_NOISE, _NOISE, (len(labels), SIZE, SIZE, 3))
    return (colours[labels] + noise).astype(np.uint8)


def encoded(image: NDArray[np.uint8]) -> bytes:
    """Return an image as a PNG file."""
    png = io.BytesIO()
    Image.fromarray(image).save(png, "PNG")
    return png.getvalue()


def write(root: Path) -> None:
    """Write the data set as the hub has it, and ``weights/trunk.pth``, below a data folder."""
    rng = np.random.default_rng(1)
    image = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    schema = pa.schema({"image": image, "label": pa.int64()})
    (root / "imagenette").mkdir(parents=True)
    for split, of_class in (("train", NUM_TRAIN), ("validation", NUM_TEST)):
        labels = np.repeat(np.arange(NUM_CLASSES), of_class)
        images = [{"bytes": encoded(x), "path": None} for x in images_of(labels, rng)]
        table = pa.table({"image": images, "label": labels}, schema=schema)
        pq.write_table(table, root / "imagenette" / f"{split}.parquet")
    (root / "weights").mkdir(exist_ok=True)
    trunk = {key: w for key, w in state().items() if not key.startswith(("layer4.", "fc."))}
    torch.save(trunk, root / "weights" / TRUNK)


@cache
def state(model: str = "resnet18") -> Mapping[str, Tensor]:
    """Return tensors for every layer of a network of torchvision's: statistics are no 0 and 1."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = get_model(model)
        for key, w in network.state_dict().items():
            if w.dim() == 1:
                w.uniform_(0.5, 1.5) if key.endswith(("weight", "var")) else w.normal_(std=0.1)
    return MappingProxyType(network.state_dict())
