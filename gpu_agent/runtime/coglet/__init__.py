"""Runs one model in a process of its own, driven by files and signals. See docs/reference/coglet.md."""
