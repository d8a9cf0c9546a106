"""A figure in one command: `python -m pruning_afo.reproduce FIGURE ... [key=value ...]`."""

import sys

from common.replication import reproduce
from pruning_afo.replication import REPLICATION

if __name__ == "__main__":
    sys.exit(reproduce.main(REPLICATION, sys.argv[1:]))
