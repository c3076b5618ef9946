"""A folder of records for `results/published/`: tables, metadata and a checklist for the pull request."""
