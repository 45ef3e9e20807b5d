"""A process that adds turns, and says so after each: `python adder.py DATABASE RUN FIRST COUNT DURABILITY`."""

import sys

from posttrain.memory import Memory, Turn


def made(run: str, turn: int) -> Turn:
    """A turn of which another process can tell whether it has all of it."""
    return Turn(run, turn, f"open door {turn % 7} of {run}", f"The door {turn % 7} is open.\nLine {turn}. " * 8)


def put(memory: Memory, run: str, turn: int) -> str:
    """Add it; gives its status."""
    content = made(run, turn)
    return memory.add(run, turn, action=content.action, observation=content.observation).status


if __name__ == "__main__":
    where, name, first, count, durability = sys.argv[1:]
    with Memory(where, durability=durability) as opened:  # pyright: ignore[reportArgumentType]
        for number in range(int(first), int(first) + int(count)):
            put(opened, name, number)
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()
