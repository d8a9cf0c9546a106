"""A figure in one command: `python -m distilbert_failures.reproduce FIGURE ... [key=value ...]`."""

import sys

from common.replication import reproduce
from distilbert_failures.replication import REPLICATION

if __name__ == "__main__":
    sys.exit(reproduce.main(REPLICATION, sys.argv[1:]))
