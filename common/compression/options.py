"""Choices that are keys of configurations: here, for these are checked before anything loads."""

from typing import Literal

SparsifierName = Literal["none", "threshold", "top_k", "global_top_k", "random_k"]
QuantiserName = Literal["float32", "float16", "bfloat16", "int8", "sign"]
Rounding = Literal["nearest", "stochastic"]
ScaleOf = Literal["per_tensor", "per_row"]
