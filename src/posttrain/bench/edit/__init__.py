"""Edits of weights where the truth is known: a planted layer, and a tiny model of four languages."""
