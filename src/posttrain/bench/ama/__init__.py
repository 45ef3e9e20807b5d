"""AMA-Bench: how much of a long agent log a memory gives back, by questions of four types with known evidence."""
