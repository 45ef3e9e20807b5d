"""A PostgreSQL server of our own, from Debian's package, for the tests that need one."""

from __future__ import annotations

import atexit
import functools
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

BIN = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)


def why_not() -> str:
    """Why no server can be started here; empty if one can."""
    if BIN is None:
        return "PostgreSQL's server is not installed (Debian: apt install postgresql)"
    if os.getuid() == 0:
        if shutil.which("setpriv") is None:
            return "initdb refuses root, and there is no setpriv to become another user"
        try:
            pwd.getpwnam("postgres")
        except KeyError:
            return "initdb refuses root, and there is no user postgres"
    return ""


class Server:
    """Data and socket lie in a folder of its own; nothing listens on the network."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ptm", dir="/tmp"))
        self.user = "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
        if os.getuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
        self._run(
            "initdb", "-D", str(self.folder / "data"), "-A", "trust", "-U", self.user, "-E", "UTF8", "--locale=C", "-N"
        )
        self.start()

    @property
    def address(self) -> str:
        return f"postgresql://{self.user}@/postgres?host={self.folder}"

    def start(self) -> None:
        options = f"-c listen_addresses='' -k {self.folder} -c fsync=off -c shared_buffers=16MB -c max_connections=40"
        log = str(self.folder / "log")
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-w", "-l", log, "-o", options, "start")

    def stop(self, how: str = "immediate") -> None:
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-w", "-m", how, "stop")

    def remove(self) -> None:
        if (self.folder / "data" / "postmaster.pid").exists():
            self.stop()
        shutil.rmtree(self.folder)

    def _run(self, program: str, *arguments: str) -> None:
        assert BIN is not None
        become = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.getuid() == 0 else []
        done = subprocess.run(
            [*become, str(BIN / program), *arguments], cwd=self.folder, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if program == "initdb" else subprocess.DEVNULL,
            stderr=subprocess.STDOUT if program == "initdb" else subprocess.DEVNULL, timeout=60, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{program} failed: {(done.stdout or b'').decode()}")


@functools.cache
def server() -> Server:
    """One for all tests of a process; it is removed at the end."""
    found = Server()
    atexit.register(found.remove)
    return found


needs_postgres = pytest.mark.skipif(bool(why_not()), reason=why_not() or "a server can be started")
