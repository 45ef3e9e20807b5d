"""Where prompts and verdicts come from: puzzles made by code, and your own data set."""
