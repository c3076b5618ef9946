"""Data sets, partitions over clients, and federations."""
