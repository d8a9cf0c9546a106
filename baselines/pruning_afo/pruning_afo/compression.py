"""What the configured clients do to their updates, and to the gradients of their local steps."""

import numpy as np
import torch
from torch import Tensor

from common.client.local_sgd import GradientHook
from common.compression.compressor import Compressor, make_compressor
from common.compression.error_feedback import ErrorFeedback
from common.compression.quantisers import Quantiser
from pruning_afo.config import PruningConfig


def make_compression(config: PruningConfig) -> Compressor | ErrorFeedback:
    """Return what encodes updates: a compressor, with error feedback if there is any."""
    # Error feedback makes up for the entries that were not drawn; without it, a scale does.
    compressor = _compressor(config, scaled=not config.error_feedback)
    if not config.error_feedback:
        return compressor
    return ErrorFeedback(
        compressor,
        momentum=config.residual_momentum,
        factor_masking=config.factor_masking,
        clip_norm=config.clip_norm,
    )


def make_quantiser(config: PruningConfig) -> Quantiser:
    """Return what writes the values that are sent."""
    return _compressor(config, scaled=True).quantiser


def compress_gradients(
    config: PruningConfig, server_round: int, rng: np.random.Generator
) -> GradientHook:
    """Return what has each local step made with the gradient that a receiver would decode.

    That is the document's flow chart: entries below a threshold are zeroed and the others
    quantised before a local step. Nothing is sent then, and no byte saved.

    Args:
        config: The run's configuration.
        server_round: The round, which the density may depend on.
        rng: Of what is drawn.
    """
    compressor = _compressor(config, scaled=True)

    def correct(gradient: list[Tensor]) -> None:
        tensors = {str(i): g.cpu().numpy() for i, g in enumerate(gradient)}
        sent = compressor.compress(tensors, server_round, rng).sent
        for i, g in enumerate(gradient):
            g.copy_(torch.tensor(sent[str(i)].to_dense()))

    return correct


def _compressor(config: PruningConfig, *, scaled: bool) -> Compressor:
    return make_compressor(
        config.sparsifier,
        config.quantiser,
        threshold=config.threshold,
        density=config.density,
        warmup_rounds=config.warmup_rounds,
        int8_rounding=config.int8_rounding,
        int8_scale=config.int8_scale,
        scaled=scaled,
    )
