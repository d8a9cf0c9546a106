"""A Hydra launcher that checks every run of a sweep before it starts the first."""

from collections.abc import Sequence
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.utils import JobReturn
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from common.experiment.config import ExperimentConfig


def config_values(values: DictConfig) -> dict[str, Any]:
    """Return a composed configuration as plain dictionaries, without Hydra's own part."""
    plain = OmegaConf.to_container(values, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items() if key != "hydra"}


class SweepLauncher(BasicLauncher):
    """Runs the jobs of a sweep one after another, all of them checked beforehand.

    Args:
        schema: Import path of the schema that configurations are checked against.
    """

    def __init__(self, schema: str) -> None:
        super().__init__()
        self._schema: type[ExperimentConfig] = get_class(schema)

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Check all jobs, then run them.

        Raises:
            UserInputError: A job's configuration cannot be run; none was started.
        """
        assert self.hydra_context is not None
        assert self.config is not None
        loader = self.hydra_context.config_loader
        for overrides in job_overrides:
            job = loader.load_sweep_config(self.config, list(overrides))
            with_number = OmegaConf.masked_copy(job, [key for key in job if key != "hydra"])
            self._schema.parse(config_values(with_number))
        return super().launch(job_overrides, initial_job_idx)
