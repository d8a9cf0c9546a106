"""Results -> figures, tables and verdicts: `python -m imagenet_resnet.report`; see --help."""

import sys

from common.replication import report
from imagenet_resnet.replication import REPLICATION

if __name__ == "__main__":
    sys.exit(report.main(REPLICATION, sys.argv[1:]))
