"""Worlds that agents act in, and the seats from which many are stepped side by side."""
