"""`python -m fedprompt.benchmark` is `bench`."""

from fedprompt.benchmark.cli import main

main()
