"""Pages of the documentation that are generated from the code at build time."""
