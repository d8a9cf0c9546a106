"""What is measured: the works, each a fixed set of rounds with fixed clients and budgets."""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

SEED = 0
MEGABYTES_OF_TRANSPORT = 44


@dataclass(frozen=True)
class Work:
    """A federated problem with its budget, the same for every system.

    Attributes:
        name: Names it in files and options.
        title: Names it for readers.
        model: The global model.
        partition: Who owns which example; "none" where clients train nothing.
        num_clients: Clients of the federation.
        clients_per_round: K.
        num_rounds: Rounds of one pass; a system repeats whole passes until it took long enough.
        num_epochs: E, for every client.
        batch_size: B.
        learning_rate: Step size.
        mu: Coefficient of the proximal term.
    """

    name: str
    title: str
    model: Literal["logistic", "cnn", "resnet18"]
    partition: Literal["power_law", "iid", "none"]
    num_clients: int
    clients_per_round: int
    num_rounds: int
    num_epochs: int = 1
    batch_size: int = 10
    learning_rate: float = 0.03
    mu: float = 1.0

    @property
    def trains(self) -> bool:
        """Whether clients train."""
        return self.partition != "none"

    def cohort_round(self, done: int) -> int:
        """Return the round, from 1, whose cohort comes next when ``done`` rounds are over.

        The first round of a run warms up: it is round 1, not counted, and comes again as the
        first of the first pass.
        """
        return 1 if done == 0 else 1 + (done - 1) % self.num_rounds

    def to_json(self) -> dict[str, Any]:
        """Return the attributes."""
        return asdict(self)


WORKS = (
    Work(
        name="logistic_e20",
        title="FedProx, logistic regression, MNIST, E = 20",
        model="logistic",
        partition="power_law",
        num_clients=1000,
        clients_per_round=10,
        num_rounds=10,
        num_epochs=20,
    ),
    Work(
        name="logistic_e1",
        title="FedProx, logistic regression, MNIST, E = 1",
        model="logistic",
        partition="power_law",
        num_clients=1000,
        clients_per_round=10,
        num_rounds=10,
    ),
    Work(
        name="cnn",
        title="FedProx, CNN, MNIST, E = 1",
        model="cnn",
        partition="iid",
        num_clients=100,
        clients_per_round=4,
        num_rounds=1,
    ),
    Work(
        name="nothing",
        title="clients that do nothing, logistic regression's weights",
        model="logistic",
        partition="none",
        num_clients=1000,
        clients_per_round=10,
        num_rounds=10,
    ),
    Work(
        name="transport",
        title=f"clients that do nothing, ResNet-18's {MEGABYTES_OF_TRANSPORT} MB of weights",
        model="resnet18",
        partition="none",
        num_clients=10,
        clients_per_round=10,
        num_rounds=2,
    ),
)


def quick(work: Work) -> Work:
    """Return a work with the same steps on far fewer and smaller clients, to test the harness."""
    clients = min(work.num_clients, 30)
    return replace(
        work,
        num_clients=clients,
        clients_per_round=min(work.clients_per_round, 4),
        num_rounds=min(work.num_rounds, 2),
        num_epochs=min(work.num_epochs, 2),
    )
