"""`python -m fedprompt.benchmark` runs the `bench` command."""

from fedprompt.benchmark.cli import main

main()
