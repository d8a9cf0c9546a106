"""Choices that are keys of configurations: here, for these are checked before torch is there."""

from typing import Literal

Weighting = Literal["examples", "uniform"]
Buffers = Literal["average", "keep"]
ServerOptimizerName = Literal["none", "fedavgm", "fedadagrad", "fedadam", "fedyogi"]
