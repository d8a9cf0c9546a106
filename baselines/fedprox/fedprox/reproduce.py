"""A figure in one command: `python -m fedprox.reproduce FIGURE ... [key=value ...]`."""

import sys

from common.replication import reproduce
from fedprox.replication import REPLICATION

if __name__ == "__main__":
    sys.exit(reproduce.main(REPLICATION, sys.argv[1:]))
