"""The two arms of the paper's comparison."""

from collections.abc import Sequence

from common.strategy.fedavg import FedAvg
from common.strategy.fedprox import FedProx
from fedprox.config import FedProxConfig


def make_strategy(
    config: FedProxConfig, nodes: Sequence[int], num_examples: Sequence[int]
) -> FedAvg:
    """Build the configured strategy.

    Args:
        config: The run's configuration.
        nodes: Flower node id of every client.
        num_examples: n_k of every client.
    """
    shared = (
        nodes,
        num_examples,
        config.clients_per_round,
        config.num_epochs,
        config.stragglers_fraction,
        config.seed,
        config.on_client_failure,
    )
    if config.algorithm == "fedavg":
        return FedAvg(*shared)
    return FedProx(
        *shared, mu=config.mu, batch_size=config.batch_size, adaptive_mu=config.adaptive_mu
    )
