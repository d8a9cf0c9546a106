"""How long one local step takes, by ways to write it, without any federation around it.

The ways take turns, so that a busy machine slows all of them. Weights are compared at the end, as
proof of equal work. Prints JSON, or with ``--table`` a table for readers.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from speed.training import NUM_CLASSES, NUM_FEATURES, data_loader_epochs, make_model
from speed.work import WORKS, Work
from torch import nn

from common.client.local_sgd import train_locally
from common.client.work import LocalWork
from common.threads import use_one_thread

Way = Callable[[nn.Module, NDArray[np.float32], NDArray[np.int64], Work], None]
EXAMPLES = {"logistic_e20": 60, "logistic_e1": 60, "cnn": 200}
ORDER_SEED = 1


@dataclass(frozen=True)
class Row:
    """One way's figures for one work.

    Attributes:
        work: Name of the work.
        way: The way's name.
        microseconds: Median time of a step.
        times_faster: The DataLoader loop's time over this one's.
        relative_difference: ||w - w_loop|| / ||w_loop|| at the end.
    """

    work: str
    way: str
    microseconds: float
    times_faster: float
    relative_difference: float


def data_loader_loop(model: nn.Module, x: NDArray, y: NDArray, work: Work) -> None:
    """The usual client: a DataLoader, an optimiser, the proximal term in the loss."""
    data_loader_epochs(model, x, y, work, np.random.default_rng(ORDER_SEED))


def through_autograd(model: nn.Module, x: NDArray, y: NDArray, work: Work) -> None:
    """What any other network gets: a model that is not one linear layer has no compiled path."""
    train_locally_as_it_is(nn.Sequential(model), x, y, work)


def train_locally_as_it_is(model: nn.Module, x: NDArray, y: NDArray, work: Work) -> None:
    """What a baseline calls: it takes the compiled path where there is one."""
    train_locally(model, x, y, _budget(work), np.random.default_rng(ORDER_SEED))


def train_locally_in_bfloat16(model: nn.Module, x: NDArray, y: NDArray, work: Work) -> None:
    """What ``precision=bfloat16`` gives: other numbers, faster."""
    budget = replace(_budget(work), precision="bfloat16")
    train_locally(model, x, y, budget, np.random.default_rng(ORDER_SEED))


USUAL = "DataLoader loop"
DEFAULT = "train_locally"
LINEAR_WAYS: dict[str, Way] = {
    USUAL: data_loader_loop,
    "train_locally, through autograd": through_autograd,
    DEFAULT: train_locally_as_it_is,
}
NETWORK_WAYS: dict[str, Way] = {
    USUAL: data_loader_loop,
    DEFAULT: train_locally_as_it_is,
    "train_locally, bfloat16": train_locally_in_bfloat16,
}


def _budget(work: Work) -> LocalWork:
    return LocalWork(
        epochs=work.num_epochs,
        batch_size=work.batch_size,
        learning_rate=work.learning_rate,
        mu=work.mu,
    )


def measure(work: Work, repeats: int) -> list[Row]:
    """Time every way on one client's work."""
    rng = np.random.default_rng(0)
    n_k = EXAMPLES[work.name]
    x = rng.standard_normal((n_k, NUM_FEATURES), dtype=np.float32)
    y = rng.integers(0, NUM_CLASSES, n_k)
    steps = work.num_epochs * -(-n_k // work.batch_size)
    start = make_model(work).state_dict()
    ways = LINEAR_WAYS if work.model == "logistic" else NETWORK_WAYS
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    weights: dict[str, torch.Tensor] = {}
    for repeat in range(repeats + 1):
        for name, way in ways.items():
            model = make_model(work)
            model.load_state_dict(start)
            began = time.perf_counter()
            way(model, x, y, work)
            if repeat > 0:  # The first time compiles and warms up.
                seconds[name].append(time.perf_counter() - began)
            weights[name] = torch.cat([w.detach().flatten() for w in model.parameters()]).double()
    usual, reference = statistics.median(seconds[USUAL]), weights[USUAL]
    rows = []
    for name, taken in seconds.items():
        median = statistics.median(taken)
        difference = float((weights[name] - reference).norm() / reference.norm())
        rows.append(Row(work.name, name, 1e6 * median / steps, usual / median, difference))
    return rows


def main() -> None:
    """Measure all works that train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--table", action="store_true", help="print a table instead of JSON")
    options = parser.parse_args()
    use_one_thread()
    torch.manual_seed(0)
    rows = [row for work in WORKS if work.trains for row in measure(work, options.repeats)]
    if not options.table:
        print(json.dumps([asdict(row) for row in rows]))
        return
    print(f"{'':46}{'µs a step':>10}{'times faster':>14}{'relative difference':>21}")
    for row in rows:
        print(
            f"{row.work:14}{row.way:32}{row.microseconds:10.1f}{row.times_faster:14.1f}"
            f"{row.relative_difference:21.1e}"
        )


if __name__ == "__main__":
    main()
