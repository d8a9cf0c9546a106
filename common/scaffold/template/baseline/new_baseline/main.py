"""Run it: `python -m new_baseline.main key=value ...`."""

import sys

from common.experiment import cli
from new_baseline.config import NewBaselineConfig

if __name__ == "__main__":
    sys.exit(cli.main("new_baseline", NewBaselineConfig))
