"""Partitions of a data set over clients. A module in this folder is discovered automatically."""
