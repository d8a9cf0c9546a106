"""Server side: sampling, stragglers, FedAvg, FedProx, adaptive mu."""

from common.strategy.fedavg import FedAvg
from common.strategy.fedprox import FedProx

__all__ = ["FedAvg", "FedProx"]
