"""Results -> figures, tables, verdicts: `python -m new_baseline.report`."""

import sys

from common.replication import report
from new_baseline.replication import REPLICATION

if __name__ == "__main__":
    sys.exit(report.main(REPLICATION, sys.argv[1:]))
