"""How a memory is kept: turns as they came, and an index that is made from them, in SQLite or PostgreSQL."""
