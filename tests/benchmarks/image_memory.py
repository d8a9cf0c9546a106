"""How much memory decoding and reading a large image data set takes.

    python tests/benchmarks/image_memory.py [--images 50000] [--size 64]

Makes a data set of JPEG files in class folders, as many as the validation split of ILSVRC-2012 has,
decodes it, and reads all of it in batches in random order, as a trainer does. For either it tells
the peak of all resident memory and of the part of it that is this process's own: the rest are pages
of files, which all processes share and of which the system keeps as many as it has room for.
Everything is made in a temporary folder. Linux only.
"""

import argparse
import io
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from common.data import load_images

CLASSES = 1000
BATCH = 32
INTERVAL = 0.01


def make_images(folder: Path, num_images: int, size: int) -> None:
    """Write JPEG files into class folders, evenly."""
    rng = np.random.default_rng(0)
    names = [folder / f"n{i:08}" for i in range(min(CLASSES, num_images))]
    for name in names:
        name.mkdir(parents=True)
    for i in range(num_images):
        small = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(small).resize((size, size)).save(file, "JPEG")
        (names[i % len(names)] / f"{i}.JPEG").write_bytes(file.getvalue())


def memory(field: str) -> float:
    """Return a size of this process from /proc, in MiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{field}:")[2].split()[0]) / 1024


@contextmanager
def measured(title: str, num_images: int) -> Iterator[None]:
    """Print the peaks of memory and the time of a block."""
    own = [memory("RssAnon")]
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(INTERVAL):
            own.append(memory("RssAnon"))

    Path("/proc/self/clear_refs").write_text("5")  # The peak so far is forgotten.
    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.monotonic()
    try:
        yield
    finally:
        seconds = time.monotonic() - start
        ended.set()
        watcher.join()
    print(
        f"{title:<24}{seconds:>9.1f}{num_images / seconds:>10.0f}"
        f"{memory('VmHWM'):>12.0f}{max(own):>10.0f}",
        flush=True,
    )


def main() -> None:
    """Make, decode and read the data set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--size", type=int, default=64)
    arguments = parser.parse_args()
    num_images, size = arguments.images, arguments.size
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FLOWERBED_DATA"] = folder
        os.environ["XDG_CACHE_HOME"] = f"{folder}/cache"
        print(
            f"{num_images} images of {size} x {size} pixels, "
            f"{num_images * size**2 * 3 / 2**20:.0f} MiB decoded"
        )
        print(f"{'':<24}{'seconds':>9}{'images/s':>10}{'peak MiB':>12}{'own MiB':>10}")
        with measured("making the files", num_images):
            make_images(Path(folder, "imagenet", "val"), num_images, size)
        with measured("decoding", num_images):
            load_images("imagenet_val", size, "end", seed=0)
        with measured("loading it again", num_images):
            data = load_images("imagenet_val", size, "end", seed=0)
        num_train = len(data.x_train)
        order = np.random.default_rng(0).permutation(num_train)
        with measured("reading all of x_train", num_train):
            for start in range(0, num_train, BATCH):
                batch = data.x_train[order[start : start + BATCH]].astype(np.float32)
                assert batch.shape[1:] == (size, size, 3)


if __name__ == "__main__":
    main()
