"""A figure in one command: `python -m new_baseline.reproduce FIGURE`."""

import sys

from common.replication import reproduce
from new_baseline.replication import REPLICATION

if __name__ == "__main__":
    sys.exit(reproduce.main(REPLICATION, sys.argv[1:]))
