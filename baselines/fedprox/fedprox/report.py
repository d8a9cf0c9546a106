"""Results -> figures, tables and verdicts: `python -m fedprox.report`; --help tells more."""

import sys

from common.replication import report
from fedprox.replication import REPLICATION

if __name__ == "__main__":
    sys.exit(report.main(REPLICATION, sys.argv[1:]))
