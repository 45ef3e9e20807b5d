"""The first program in the namespaces of a command: prepares them, and becomes the command.

    python -I sandbox_inside.py CHANNEL PORT BACKLOG COMMAND...

Imports nothing of posttrain, as it starts before every command.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import subprocess
import sys

SIOCSIFFLAGS = 0x8914
IFF_UP = 1


def main(channel: int, port: int, backlog: int, command: list[str]) -> None:
    """Bring loopback up, hand a listening socket out, hide /run, and give up the right to change any of it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as interfaces:
        fcntl.ioctl(interfaces, SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", IFF_UP))
    listener = socket.create_server(("127.0.0.1", port), backlog=backlog)
    for folder in ("/run", "/var/run"):
        if os.path.isdir(folder) and not os.path.islink(folder):
            subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], check=True)
    with socket.socket(fileno=channel) as outside:
        socket.send_fds(outside, [b"."], [listener.fileno()])
    listener.close()
    # In namespaces below these, mounts and network belong to a stranger, and the command is who it was outside.
    who = [f"--map-user={_outside('uid')}", f"--map-group={_outside('gid')}"]
    os.execvp("unshare", ["unshare", "--user", *who, "--mount", "--", *command])


def _outside(kind: str) -> str:
    """The id that this process has outside of its user namespace."""
    with open(f"/proc/self/{kind}_map", encoding="ascii") as lines:
        return lines.read().split()[1]


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
