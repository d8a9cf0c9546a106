"""The keys of this baseline; their defaults are in ../pyproject.toml."""

from common.experiment.config import ExperimentConfig, NonNegativeFloat


class NewBaselineConfig(ExperimentConfig):
    """Schema of ``[tool.flwr.app.config]``; the comments there say what a key means."""

    synthetic_alpha: NonNegativeFloat
    synthetic_beta: NonNegativeFloat
