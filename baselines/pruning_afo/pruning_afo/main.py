"""Run it: `python -m pruning_afo.main key=value ...`; see the README for the keys."""

import sys

from common.experiment import cli
from pruning_afo.config import PruningConfig

if __name__ == "__main__":
    sys.exit(cli.main("pruning_afo", PruningConfig))
