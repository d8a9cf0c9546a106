"""The strategy of a run: FedAvg, its compressed and pruned kinds, the server optimiser."""

from collections.abc import Sequence
from functools import partial
from typing import Final

from torch import nn

from common.strategy.aggregate import Aggregation
from common.strategy.compressed import CompressedFedAvg
from common.strategy.fedavg import FedAvg, FedAvgOptions, RoundTraffic
from common.strategy.server_optimizer import make_server_optimizer
from pruning_afo.config import PruningConfig
from pruning_afo.links import LINKS, round_seconds
from pruning_afo.pruning import make_pruning_strategy

# What a client says of its training in float16: steps left out, for their gradients overflowed.
SKIPPED_STEPS: Final = "skipped-steps"
# Nobody straggles: what bandwidth does is computed from the bytes (pruning_afo.links).
_STRAGGLERS_FRACTION: Final = 0.0


def make_strategy(
    config: PruningConfig, nodes: Sequence[int], num_examples: Sequence[int], model: nn.Module
) -> FedAvg:
    """Return the configured strategy.

    Args:
        config: The run's configuration.
        nodes: Flower node id of every client.
        num_examples: n_k of every client.
        model: The federated model, which tells parameters from buffers.
    """
    options: FedAvgOptions = {
        "clients_per_round": config.clients_per_round,
        "num_epochs": config.num_epochs,
        "stragglers_fraction": _STRAGGLERS_FRACTION,
        "seed": config.seed,
        "on_client_failure": config.on_client_failure,
        "aggregation": _aggregation(config, model),
        "measure_drift": config.measure_drift,
        "client_metrics": [SKIPPED_STEPS] if config.precision == "float16" else [],
        "measure_traffic": partial(_seconds_on_links, config.seed),
    }
    if config.compresses and config.pruning == "none":
        return CompressedFedAvg(
            nodes, num_examples, error_feedback=config.error_feedback, **options
        )
    return make_pruning_strategy(
        config.pruning,
        nodes,
        num_examples,
        model,
        importance=config.importance,
        model_density=config.model_density,
        pruning_start=config.pruning_start,
        pruning_end=config.pruning_end,
        pruning_every=config.pruning_every,
        **options,
    )


def _seconds_on_links(seed: int, traffic: RoundTraffic) -> dict[str, float]:
    """Return what a round's bytes take on each simulated link."""
    bytes_up, bytes_down = traffic.client_bytes_up, traffic.client_bytes_down
    return {
        link.metric: round_seconds(link, seed, traffic.clients, bytes_up, bytes_down)
        for link in LINKS
    }


def _aggregation(config: PruningConfig, model: nn.Module) -> Aggregation:
    parameters = {name: w.detach().numpy() for name, w in model.named_parameters()}
    return Aggregation(
        parameters=list(parameters),
        weighting=config.weighting,
        server_optimizer=make_server_optimizer(
            config.server_optimizer,
            parameters,
            server_learning_rate=config.server_learning_rate,
            beta_1=config.beta_1,
            beta_2=config.beta_2,
            tau=config.tau,
            bias_correction=config.bias_correction,
        ),
    )
