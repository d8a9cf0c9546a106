"""Run it: `python -m imagenet_resnet.main key=value ...`; see the README for the keys."""

import sys

from common.experiment import cli
from imagenet_resnet.config import ImageNetConfig

if __name__ == "__main__":
    sys.exit(cli.main("imagenet_resnet", ImageNetConfig))
