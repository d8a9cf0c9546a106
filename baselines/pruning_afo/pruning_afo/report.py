"""Results -> figures, tables and verdicts: `python -m pruning_afo.report`; see --help."""

import sys

from common.replication import report
from pruning_afo.replication import REPLICATION

if __name__ == "__main__":
    sys.exit(report.main(REPLICATION, sys.argv[1:]))
