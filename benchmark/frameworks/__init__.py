"""The same federated job in other frameworks: `python -m fedprompt.benchmark.frameworks`."""
