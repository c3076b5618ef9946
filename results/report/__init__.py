"""Records -> one HTML file that needs nothing else: `write`."""

from results.report.page import write

__all__ = ["write"]
