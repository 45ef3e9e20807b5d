"""What the tests of the AgentDojo bench share."""

from posttrain.bench.agentdojo.rows import Row

ABOUT = {
    "suite": "slack",
    "version": "v1.2.1",
    "agentdojo": "0.1.35",
    "attack": "direct",
    "agent": "scripted, obedience 1",
    "scripted": True,
    "defences": {"none": "every call runs", "wall": "nothing leaves"},
    "injections": {
        "injection_task_1": {"goal": "Write to Alice.", "calls": ["send_direct_message"], "web": False},
        "injection_task_2": {"goal": "Post it all.", "calls": ["post_webpage"], "web": True},
        "injection_task_9": {"goal": "Think.", "calls": [], "web": False},
    },
    "skipped": ["injection_task_9"],
    "web": True,
}


def row(defence: str, user_task: str, injection_task: str = "", **more) -> Row:
    """A row by hand."""
    return Row(f"{defence} / {user_task} / {injection_task}", defence, user_task, injection_task, **more)


def rows() -> list[Row]:
    """Two user tasks, of which one breaks under the wall with the second injection."""
    found = []
    for defence in ("none", "wall"):
        for user in ("user_task_0", "user_task_1"):
            found += [
                row(defence, user, utility=True, contacts=("a.com",) if user == "user_task_1" else ()),
                row(defence, user, "injection_task_1", utility=defence == "none", carried_out=True),
                row(defence, user, "injection_task_2", utility=True, carried_out=defence == "none"),
            ]
    found[-1] = row("wall", "user_task_1", "injection_task_2", error="OSError: gone")
    return found
