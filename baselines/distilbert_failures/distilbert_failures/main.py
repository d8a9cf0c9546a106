"""Run it: `python -m distilbert_failures.main key=value ...`; see the README for the keys."""

import sys

from common.experiment import cli
from distilbert_failures.config import DistilBertConfig

if __name__ == "__main__":
    sys.exit(cli.main("distilbert_failures", DistilBertConfig))
