"""Results -> figures, tables and verdicts: `python -m distilbert_failures.report`; see --help."""

import sys

from common.replication import report
from distilbert_failures.replication import REPLICATION

if __name__ == "__main__":
    sys.exit(report.main(REPLICATION, sys.argv[1:]))
