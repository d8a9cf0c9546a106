"""Local training: the optimiser step, the proximal term, the work budget."""

from common.client.local_sgd import train_locally
from common.client.work import LocalWork

__all__ = ["LocalWork", "train_locally"]
