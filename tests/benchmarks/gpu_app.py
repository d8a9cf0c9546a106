"""The two apps that gpu.py measures; in a module, which workers can import."""

import time
from dataclasses import dataclass, field
from functools import cache, lru_cache

import numpy as np
from flwr.app import ArrayRecord, Context, Message
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from torch import nn
from torchvision.models import resnet18

from common.client.local_sgd import train_locally
from common.client.work import LocalWork
from common.engine import nodes_by_partition
from common.protocol import ARRAYS, TrainInstruction, train_reply
from common.randomness import Purpose, generator, torch_seeded
from common.strategy.fedavg import FedAvg
from common.threads import use_one_thread

SEED, NUM_CLASSES = 0, 10


@dataclass(frozen=True)
class Size:
    """How much is trained.

    Attributes:
        clients: Clients, all of which take part in every round.
        rounds: Rounds that count.
        examples: Examples a client.
        batch_size: Examples a step.
    """

    clients: int = 16
    rounds: int = 3
    examples: int = 500
    batch_size: int = 32


@dataclass
class Clock:
    """Times rounds; the first, from start to the first model, is kept apart."""

    marks: list[float] = field(default_factory=list)

    def note(self, server_round: int, arrays: ArrayRecord) -> None:
        """Note the time; Flower calls this before round 1 and after each."""
        self.marks.append(time.perf_counter())

    def clients_per_second(self, size: Size) -> float:
        """Return the rate of the rounds that count."""
        return size.clients * size.rounds / (self.marks[-1] - self.marks[1])


def make_apps(size: Size, device: str, clock: Clock) -> tuple[ServerApp, ClientApp]:
    """Return the two apps of one measurement."""
    server_app, client_app = ServerApp(), ClientApp()

    @server_app.main()
    def main(grid: Grid, context: Context) -> None:
        use_one_thread()
        num_examples = [size.examples] * size.clients
        nodes = nodes_by_partition(grid, num_examples)
        strategy = FedAvg(
            nodes,
            num_examples,
            clients_per_round=size.clients,
            num_epochs=1,
            stragglers_fraction=0.0,
            seed=SEED,
        )
        strategy.start(
            grid,
            ArrayRecord(_resident_model("cpu").state_dict()),
            num_rounds=1 + size.rounds,
            timeout=float("inf"),
            evaluate_fn=clock.note,
        )

    @client_app.train()
    def train(message: Message, context: Context) -> Message:
        use_one_thread()
        client = int(context.node_config["partition-id"])
        instruction = TrainInstruction.of(message)
        model = _resident_model(device)
        model.load_state_dict(message.content.array_records[ARRAYS].to_torch_state_dict())
        x, y = _examples(client, size.examples)
        work = LocalWork(1, size.batch_size, learning_rate=0.01, mu=0.0)
        rng = generator(SEED, Purpose.BATCH_ORDER, instruction.server_round, client)
        train_locally(model, x, y, work, rng)
        return train_reply(message, ArrayRecord(model.state_dict()), len(y))

    return server_app, client_app


@lru_cache(maxsize=2)
def _resident_model(device: str) -> nn.Module:
    with torch_seeded(SEED, Purpose.INITIAL_WEIGHTS):
        return resnet18(num_classes=NUM_CLASSES).to(device)


@cache
def _examples(client: int, n_k: int) -> tuple[np.ndarray, np.ndarray]:
    """Generate a client's examples, once a process, so that generating them is not measured."""
    rng = generator(SEED, Purpose.DATA, client=client)
    x = rng.standard_normal((n_k, 3, 32, 32), dtype=np.float32)
    return x, rng.integers(0, NUM_CLASSES, n_k)
