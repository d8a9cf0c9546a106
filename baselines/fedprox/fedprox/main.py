"""Run FedProx: `python -m fedprox.main key=value ...`; see the README for the keys."""

import sys

from common.experiment import cli
from fedprox.client_app import app as client_app
from fedprox.config import FedProxConfig
from fedprox.server_app import app as server_app

if __name__ == "__main__":
    sys.exit(cli.main("fedprox", FedProxConfig, server_app, client_app))
