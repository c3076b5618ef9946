"""Figures of what runs measured: accuracy, traffic, clients, soft weights."""
