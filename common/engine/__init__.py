"""Run a ServerApp and a ClientApp: in this process, or on Ray."""

from common.engine.nodes import nodes_by_partition, report_partition
from common.engine.run import run, start_workers

__all__ = ["nodes_by_partition", "report_partition", "run", "start_workers"]
