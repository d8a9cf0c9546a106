"""CIFAR-10 in small, which nobody photographed."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tiny_imagenette import NUM_CLASSES, encoded, images_of

# Images of a class.
NUM_TRAIN, NUM_TEST = 12, 3


def write(root: Path) -> None:
    """Write the data set as the hub has it, below a data folder."""
    rng = np.random.default_rng(2)
    image = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    schema = pa.schema({"img": image, "label": pa.int64()})
    (root / "cifar10").mkdir(parents=True)
    for split, of_class in (("train", NUM_TRAIN), ("test", NUM_TEST)):
        labels = rng.permutation(np.repeat(np.arange(NUM_CLASSES), of_class))
        images = [{"bytes": encoded(x), "path": None} for x in images_of(labels, rng)]
        table = pa.table({"img": images, "label": labels}, schema=schema)
        pq.write_table(table, root / "cifar10" / f"{split}.parquet")
