"""Run FedProx: `python -m fedprox.main key=value ...`; see the README for the keys."""

import sys

from common.experiment import cli
from fedprox.config import FedProxConfig

if __name__ == "__main__":
    sys.exit(cli.main("fedprox", FedProxConfig))
