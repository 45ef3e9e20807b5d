"""Ways to find the turns that bear on a question: ours, its ablations, and what else a user would take."""
