"""Whether a step that is 72.6 % shorter was one of compression, or one of a quarter of the images.

    python tests/benchmarks/gradient_accumulation.py [--rounds 7]

The document's baseline accumulated the gradients of 4 micro-batches of 64 images on each GPU before
its optimiser made a step; its runs with compression accumulated none. What its timer calls a step
is all that lies between two steps of the optimiser, so in the baseline it is four times the work:
its own logs have 49 such steps an epoch there, and 196 with compression, whose epoch took 8.26 s,
the baseline's 7.58 s. Nor was anything compressed: DeepSpeed does not know the key that asked for
it.

Trains ResNet-18 in these two ways, and with micro-batches of 16 images in the place of one of 64,
each of them with and without a compression of the gradients that is real: entries below .01 are
zeroed and the others rounded to 8 bits before the optimiser's step. The ways take turns, 256 images
each, and the medians over the turns are compared; times are the processor's, of one thread, so that
a busy machine changes little. float32, no communication.
"""

import argparse
import statistics
import time
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from pruning_afo.compression import compress_gradients
from pruning_afo.config import PruningConfig
from pruning_afo.model import make_model
from torch import nn

from common.analysis.tables import markdown_table
from common.client.local_sgd import GradientHook
from common.experiment.cli import compose_config
from common.memory_format import use_channels_last
from common.threads import use_one_thread

IMAGES = 256  # Of a turn: a step of the document's baseline.
EPOCH = 12_500  # Images of one of 4 clients.


@dataclass(frozen=True)
class Way:
    """How a step of the optimiser is made.

    Attributes:
        micro_batches: Whose gradients are accumulated.
        size: Images of each.
        compresses: Whether the optimiser gets compressed gradients.
    """

    micro_batches: int
    size: int
    compresses: bool

    @property
    def images(self) -> int:
        return self.micro_batches * self.size

    @property
    def name(self) -> str:
        compressed = ", compressed" if self.compresses else ""
        return f"{self.micro_batches} x {self.size} images{compressed}"


class Seconds(NamedTuple):
    """Times of a turn."""

    forward: float
    backward: float
    compression: float
    step: float

    @property
    def computation(self) -> float:
        """What the document calls so: forward, backward, and the inner part of backward again."""
        return self.forward + 2 * self.backward


WAYS = [
    Way(micro_batches, size, compresses)
    for compresses in (False, True)
    for micro_batches, size in ((4, 64), (1, 64), (4, 16))
]


class Training:
    """A model, trained in one of the ways."""

    def __init__(self, way: Way, config: PruningConfig) -> None:
        self._way = way
        self._model = make_model(config, 10).train()
        use_channels_last(self._model)
        self._optimizer = torch.optim.SGD(
            self._model.parameters(),
            config.learning_rate,
            config.momentum,
            weight_decay=config.weight_decay,
        )
        self._compress: GradientHook = compress_gradients(config, 1, np.random.default_rng(0))

    def take_turn(self, x: torch.Tensor, y: torch.Tensor) -> Seconds:
        """Train on all images once."""
        spent = np.zeros(4)
        for images, labels in zip(
            x.split(self._way.images), y.split(self._way.images), strict=True
        ):
            spent += self._step(images, labels)
        return Seconds(*spent)

    def _step(self, x: torch.Tensor, y: torch.Tensor) -> list[float]:
        forward = backward = 0.0
        self._optimizer.zero_grad()
        for images, labels in zip(x.split(self._way.size), y.split(self._way.size), strict=True):
            began = time.process_time()
            loss = nn.functional.cross_entropy(self._model(images), labels)
            half = time.process_time()
            (loss / self._way.micro_batches).backward()
            forward += half - began
            backward += time.process_time() - half
        began = time.process_time()
        if self._way.compresses:
            self._compress([w.grad for w in self._model.parameters() if w.grad is not None])
        compressed = time.process_time()
        self._optimizer.step()
        return [forward, backward, compressed - began, time.process_time() - compressed]


def table(turns: dict[Way, list[Seconds]]) -> str:
    """Return the medians: of a step, of an image, and of an epoch."""
    median = {
        way: Seconds(*(statistics.median(part) for part in zip(*taken, strict=True)))
        for way, taken in turns.items()
    }
    baseline = WAYS[0]
    rows = []
    for way, seconds in median.items():
        steps = IMAGES // way.images
        computation = seconds.computation / steps
        saved = 1 - computation * (IMAGES // baseline.images) / median[baseline].computation
        whole, longer = sum(seconds), sum(seconds) / sum(median[baseline])
        rows.append(
            [
                way.name,
                f"{1e3 * computation:.0f}",
                f"{100 * saved:.1f} %",
                f"{1e3 * whole / steps:.0f}",
                f"{1e3 * seconds.compression / steps:.0f}",
                f"{1e3 * whole / IMAGES:.2f}",
                f"{whole / IMAGES * EPOCH:.1f}",
                f"{longer:.2f}",
            ]
        )
    header = [
        "a step of the optimiser",
        '"computation" of a step (ms)',
        "less than the first",
        "all of a step (ms)",
        "of which compression",
        "an image (ms)",
        f"an epoch of {EPOCH:,} images (s)",
        "times the first",
    ]
    return markdown_table(header, rows)


def main() -> None:
    """Time the ways."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    use_one_thread()
    config = compose_config("pruning_afo", PruningConfig, ["+compression=threshold_gradients"])
    assert isinstance(config, PruningConfig)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn((IMAGES, 3, 32, 32), generator=generator)
    y = torch.randint(10, (IMAGES,), generator=generator)
    trainings = {way: Training(way, config) for way in WAYS}
    turns: dict[Way, list[Seconds]] = {way: [] for way in WAYS}
    for round_ in range(options.rounds + 1):
        for way, training in trainings.items():
            seconds = training.take_turn(x, y)
            if round_ > 0:  # The first one warms up.
                turns[way].append(seconds)
    print(table(turns))


if __name__ == "__main__":
    main()
