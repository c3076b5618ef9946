"""Records -> one HTML file that needs nothing else: `write`."""

from fedprompt.results.report.page import write

__all__ = ["write"]
