"""What the server does with the clients' models."""

from collections.abc import Sequence

from common.strategy.fedavg import FedAvg
from new_baseline.config import NewBaselineConfig


def make_strategy(
    config: NewBaselineConfig, nodes: Sequence[int], num_examples: Sequence[int]
) -> FedAvg:
    """Return the configured strategy.

    Args:
        config: The run's configuration.
        nodes: Flower node id of every client.
        num_examples: n_k of every client.
    """
    return FedAvg(
        nodes,
        num_examples,
        clients_per_round=config.clients_per_round,
        num_epochs=config.num_epochs,
        stragglers_fraction=0.0,
        seed=config.seed,
        on_client_failure=config.on_client_failure,
    )
