"""Local training: the optimiser step, the proximal term, the work budget."""

from common.client.local_sgd import train_locally
from common.client.work import LocalTraining, LocalWork

__all__ = ["LocalTraining", "LocalWork", "train_locally"]
