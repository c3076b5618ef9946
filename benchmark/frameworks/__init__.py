"""The same federated job in other frameworks, to see what this simulator gains: `python -m fedprompt.benchmark.frameworks`."""
