"""Measure: paired comparisons of recipes, and the claims of the papers."""
