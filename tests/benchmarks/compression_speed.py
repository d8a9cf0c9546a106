"""How fast updates of ResNet-18 are compressed, and what share of a round that takes.

    python tests/benchmarks/compression_speed.py [--repeats 5]

The update is a real one, w_k - w_t of a few local steps on random images: 44.7 MB in float32, which
is what all MB/s are of. It prints, for each way to compress it,

- what is encoded and decoded a second: a client chooses and encodes entries, a receiver decodes
  them and fills in the zeros;
- what a client takes for all of it, with the checks and what the receiver will decode, without and
  with error feedback;
- which share of a round a client's work with error feedback and the decoding of its update are.
  Local training is 196 steps of 64 images there, an epoch of 12,500, timed in the same run.

Beside that, a copy of the update and numpy's own way to find the k-th magnitude; and how long the
codings take for the positions of the entries, at 1 %. The ways take turns and the best of the
repeats counts; times are the processor's, of one thread, so that a busy machine changes little.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from pruning_afo.model import build_resnet

from common.analysis.tables import markdown_table
from common.client.local_sgd import train_locally
from common.client.work import LocalWork
from common.compression import index_coding, wire
from common.compression.compressor import Compressor
from common.compression.density import DensitySchedule
from common.compression.error_feedback import ErrorFeedback, Memory
from common.compression.index_coding import IndexCoding, Positions
from common.compression.quantisers import BFloat16, Float16, Float32, Int8, Quantiser, Sign
from common.compression.sparse import Tensors
from common.compression.sparsifiers import (
    GlobalTopK,
    Keep,
    RandomK,
    Sparsifier,
    Threshold,
    TopK,
)
from common.threads import use_one_thread

BATCH_SIZE = 64
STEPS = 4
STEPS_A_ROUND = 196
DENSITIES = (0.1, 0.01, 0.001)
ROUND = 1


def top_k(density: float) -> Sparsifier:
    return TopK(DensitySchedule(density))


DGC = "top-k 0.1 %, float32, momentum"
WAYS: dict[str, tuple[Sparsifier, Quantiser]] = {
    "all, float32": (Keep(), Float32()),
    "all, float16": (Keep(), Float16()),
    "all, bfloat16": (Keep(), BFloat16()),
    "all, int8 to nearest": (Keep(), Int8()),
    "all, int8 to nearest, by row": (Keep(), Int8(scale="per_row")),
    "all, int8 stochastic": (Keep(), Int8("stochastic")),
    "all, sign": (Keep(), Sign()),
    "top-k 10 %, float32": (top_k(0.1), Float32()),
    "top-k 10 %, int8": (top_k(0.1), Int8()),
    "top-k 1 %, float32": (top_k(0.01), Float32()),
    "top-k 1 %, int8": (top_k(0.01), Int8()),
    "top-k 0.1 %, float32": (top_k(0.001), Float32()),
    "top-k 0.1 %, int8": (top_k(0.001), Int8()),
    DGC: (top_k(0.001), Float32()),
    "global top-k 1 %, float32": (GlobalTopK(DensitySchedule(0.01)), Float32()),
    "threshold 0.01, int8": (Threshold(0.01), Int8()),
    "random-k 1 %, float32": (RandomK(DensitySchedule(0.01), scaled=False), Float32()),
}


class Stopwatch:
    """The least seconds that each task took."""

    def __init__(self) -> None:
        self.best: dict[tuple[str, str], float] = defaultdict(lambda: float("inf"))

    @contextmanager
    def times(self, name: str, part: str) -> Iterator[None]:
        began = time.process_time()
        yield
        self.best[name, part] = min(self.best[name, part], time.process_time() - began)


class Client:
    """Trains ResNet-18 on random images."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self._model = build_resnet("resnet18", 64, "imagenet", "batch", 10)
        rng = np.random.default_rng(0)
        self._x = rng.standard_normal((STEPS * BATCH_SIZE, 3, 32, 32), dtype=np.float32)
        self._y = rng.integers(0, 10, STEPS * BATCH_SIZE)

    def train(self) -> Tensors:
        """Make a few steps, and return w_k - w_t."""
        work = LocalWork(1, BATCH_SIZE, 0.1, 0.0, momentum=0.9, weight_decay=5e-4)
        w_global = [w.detach().clone() for w in self._model.parameters()]
        train_locally(self._model, self._x, self._y, work, np.random.default_rng(0))
        # Contiguous: a CPU's convolutions keep their weights in another order of the axes.
        return {
            name: np.ascontiguousarray((w - before).detach().numpy())
            for (name, w), before in zip(self._model.named_parameters(), w_global, strict=True)
        }


class Compression:
    """One way to compress, and the memory of its error feedback."""

    def __init__(self, name: str, update: Tensors) -> None:
        sparsifier, quantiser = WAYS[name]
        momentum = 0.9 if name == DGC else 0.0
        self._name, self._update = name, update
        self._sparsifier, self._quantiser = sparsifier, quantiser
        self._compressor = Compressor(sparsifier, quantiser)
        self._feedback = ErrorFeedback(self._compressor, momentum, factor_masking=True)
        self._shapes = {name: values.shape for name, values in update.items()}
        self._rng = np.random.default_rng(0)
        _, self._memory = self._feedback.compress(update, Memory(), ROUND, self._rng)
        self.num_bytes = 0

    def take_turn(self, watch: Stopwatch) -> None:
        with watch.times(self._name, "encode"):
            sent = self._sparsifier.sparsify(self._update, ROUND, self._rng)
            payload = wire.encode(sent, self._quantiser, self._rng)
        with watch.times(self._name, "decode"):
            for tensor in wire.decode(payload, self._shapes).values():
                tensor.to_dense()
        with watch.times(self._name, "client"):
            self._compressor.compress(self._update, ROUND, self._rng)
        # Of the same memory each time, lest residuals grow and a threshold send all.
        with watch.times(self._name, "feedback"):
            self._feedback.compress(self._update, self._memory, ROUND, self._rng)
        self.num_bytes = len(payload)


def references(update: Tensors) -> dict[str, Callable[[], object]]:
    """What compression is measured by."""
    magnitudes = {name: np.abs(values).ravel() for name, values in update.items()}

    def partition(density: float) -> list[NDArray[np.float32]]:
        return [
            np.partition(values, len(values) - max(1, round(density * len(values))))
            for values in magnitudes.values()
        ]

    tasks: dict[str, Callable[[], object]] = {
        "np.copy": lambda: [values.copy() for values in update.values()]
    }
    for density in DENSITIES:
        tasks[f"np.partition of |v|, {100 * density:g} %"] = partial(partition, density)
    return tasks


def code_positions(update: Tensors, watch: Stopwatch) -> dict[IndexCoding, int]:
    """Time each coding of the positions that top-k sends at 1 %, and return its bytes."""
    tensors = top_k(0.01).sparsify(update, ROUND, np.random.default_rng(0)).values()
    sent = [(t.indices, t.size) for t in tensors if t.indices is not None]
    weights = {}
    for coding in IndexCoding:
        if coding == IndexCoding.DENSE:
            continue
        with watch.times(coding.name, "encode"):
            codes = [Positions(indices, size).encode(coding) for indices, size in sent]
        with watch.times(coding.name, "decode"):
            for code, (indices, size) in zip(codes, sent, strict=True):
                index_coding.decode(coding, memoryview(code), len(indices), size)
        weights[coding] = sum(map(len, codes))
    return weights


def main() -> None:
    """Time everything and print three tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    use_one_thread()
    client, watch = Client(), Stopwatch()
    update = client.train()
    compressions = {name: Compression(name, update) for name in WAYS}
    tasks = references(update)
    for _ in range(options.repeats):
        with watch.times("local training", "steps"):
            client.train()
        for name, task in tasks.items():
            with watch.times(name, "encode"):
                task()
        for compression in compressions.values():
            compression.take_turn(watch)
        weights = code_positions(update, watch)

    megabytes = sum(values.nbytes for values in update.values()) / 1e6
    best = watch.best
    step = best["local training", "steps"] / STEPS

    def speed(name: str, part: str) -> str:
        return f"{megabytes / best[name, part]:,.0f}"

    def milliseconds(name: str, part: str) -> str:
        return f"{1e3 * best[name, part]:.1f}"

    rows = [[name, "", speed(name, "encode"), *[""] * 4] for name in tasks]
    for name, compression in compressions.items():
        share = (best[name, "feedback"] + best[name, "decode"]) / (STEPS_A_ROUND * step)
        rows.append(
            [
                name,
                f"{compression.num_bytes / 1e6:.3f}",
                speed(name, "encode"),
                speed(name, "decode"),
                milliseconds(name, "client"),
                milliseconds(name, "feedback"),
                f"{100 * share:.2f} %",
            ]
        )
    header = [
        f"{megabytes:.1f} MB",
        "payload (MB)",
        "encode (MB/s)",
        "decode (MB/s)",
        "client (ms)",
        "with error feedback (ms)",
        "of a round",
    ]
    print(markdown_table(header, rows))
    print(
        f"\nA local step of {BATCH_SIZE} images takes {1e3 * step:.0f} ms, a round's "
        f"{STEPS_A_ROUND} steps {STEPS_A_ROUND * step:.0f} s.\n"
    )
    print(
        markdown_table(
            ["positions of top-k 1 %", "bytes", "encode (ms)", "decode (ms)"],
            [
                [
                    coding.name.lower(),
                    f"{num_bytes:,}",
                    milliseconds(coding.name, "encode"),
                    milliseconds(coding.name, "decode"),
                ]
                for coding, num_bytes in weights.items()
            ],
        )
    )


if __name__ == "__main__":
    main()
