"""A figure in one command: `python -m imagenet_resnet.reproduce FIGURE ... [key=value ...]`."""

import sys

from common.replication import reproduce
from imagenet_resnet.replication import REPLICATION

if __name__ == "__main__":
    sys.exit(reproduce.main(REPLICATION, sys.argv[1:]))
