"""Ours and the proxies beside it, each in a process of its own, with an allowlist of the same 10,000 names.

squid, tinyproxy and mitmdump are no part of this project; what is not found is left out with a line that says so.
`POSTTRAIN_SQUID`, `POSTTRAIN_TINYPROXY` and `POSTTRAIN_MITMDUMP` name their programs where PATH does not lead to them.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import socket
import string
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.egress_target import HOST, Servers

NAMES, SECRETS, DEPTH = 10_000, 100, 2
PLACES = {
    "squid": ("POSTTRAIN_SQUID", "/usr/sbin/squid"),
    "tinyproxy": ("POSTTRAIN_TINYPROXY", "/usr/bin/tinyproxy"),
    "mitmproxy": ("POSTTRAIN_MITMDUMP", "mitmdump"),
}
SECONDS = 60.0
"""Until a proxy must listen."""


class Side(NamedTuple):
    """A proxy that runs; or none, for direct connections."""

    name: str
    port: int | None = None
    pid: int = 0

    @property
    def cpu(self) -> float:
        """Seconds of processor time so far."""
        if not self.pid:
            return 0.0
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def mib(self) -> float:
        """Resident memory."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


@contextmanager
def proxies(folder: Path, servers: Servers) -> Iterator[tuple[list[Side], dict[str, str]]]:
    """A direct connection, ours, and what else is installed; and why the rest is left out."""
    missing: dict[str, str] = {}
    with ExitStack() as stack:
        sides = [Side("direct"), stack.enter_context(ours(folder, servers))]
        for name, (variable, usual) in PLACES.items():
            program = shutil.which(os.environ.get(variable, usual))
            if program is None:
                missing[name] = f"{name} is left out: {usual} is not there; install it, or set {variable} to its path."
                continue
            own = folder / name
            own.mkdir()
            sides.append(stack.enter_context(STARTED[name](own, program)))
        yield sides, missing


@contextmanager
def ours(folder: Path, servers: Servers, depth: int = DEPTH) -> Iterator[Side]:
    """`posttrain guard egress serve` with the secrets in its environment and its log on disk."""
    policy = folder / "egress.toml"
    allow = [f'"{name}"' for name in [*names(), *(f"{HOST}:{port}" for port in servers)]]
    held = secrets()
    policy.write_text(
        f'[destinations]\nallow = [{", ".join(allow)}]\nschemes = ["https", "http"]\nnetworks = ["127.0.0.0/8"]\n'
        f"[content]\ndepth = {depth}\n"
        + "".join(f'[[secrets]]\nid = "{name}"\nenv = "BENCH_{name}"\n' for name in held)
    )
    command = [sys.executable, "-m", "posttrain", "guard", "egress", "serve", "--policy", str(policy), "--port", "0",
               "--log", str(folder / "egress-log.jsonl")]  # fmt: skip
    environment = os.environ | {f"BENCH_{name}": value for name, value in held.items()}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        try:
            found = re.search(r":(\d+)$", process.stdout.readline().strip())
            if found is None:
                raise RuntimeError("posttrain guard egress serve did not start; its message stands above.")
            yield Side("ours", int(found[1]), process.pid)
        finally:
            process.terminate()


@contextmanager
def squid(folder: Path, program: str) -> Iterator[Side]:
    """Debian's package need not be installed: unpacked, its data lies beside the program."""
    port, base = _free_port(), Path(program).parents[1]
    data = {
        "mime_table": base / "share/squid/mime.conf",
        "icon_directory": base / "share/squid/icons",
        "error_directory": base / "share/squid/errors/templates",
        "unlinkd_program": base / "lib/squid/unlinkd",
    }
    known = folder / "known"
    known.write_text("\n".join(_with_own()))
    (folder / "squid.conf").write_text(
        f'http_port 127.0.0.1:{port}\nacl known dstdomain "{known}"\nhttp_access allow known\nhttp_access deny all\n'
        f"cache deny all\ncache_mem 8 MB\naccess_log stdio:{folder}/access.log\ncache_log {folder}/cache.log\n"
        f"pid_filename {folder}/pid\ncoredump_dir {folder}\nnetdb_filename none\npinger_enable off\n"
        "shutdown_lifetime 0 seconds\nmax_filedescriptors 8192\n"
        + "".join(f"{key} {path}\n" for key, path in data.items() if path.exists())
    )
    if os.geteuid() == 0:
        folder.parent.chmod(0o755)
        folder.chmod(0o777)
        with (folder / "squid.conf").open("a") as file:
            file.write("cache_effective_user nobody\ncache_effective_group nogroup\n")
    with _running("squid", [program, "-N", "-f", str(folder / "squid.conf")], port) as side:
        yield side


@contextmanager
def tinyproxy(folder: Path, program: str) -> Iterator[Side]:
    """Its filter tries one regular expression after the other."""
    port = _free_port()
    (folder / "filter").write_text("\n".join(f"^{re.escape(name)}$" for name in _with_own()))
    (folder / "conf").write_text(
        f'Port {port}\nListen 127.0.0.1\nTimeout 600\nMaxClients 2000\nLogFile "{folder}/log"\nLogLevel Connect\n'
        f'Filter "{folder}/filter"\nFilterDefaultDeny Yes\nFilterExtended On\n'
    )
    with _running("tinyproxy", [program, "-d", "-c", str(folder / "conf")], port) as side:
        yield side


@contextmanager
def mitmproxy(folder: Path, program: str) -> Iterator[Side]:
    """As it comes: it reads what is in TLS, with certificates of its own, and asks nobody."""
    port = _free_port()
    command = [program, "-q", "--listen-host", "127.0.0.1", "-p", str(port), "--ssl-insecure",
               "--set", f"confdir={folder}"]  # fmt: skip
    with _running("mitmproxy", command, port) as side:
        yield side


STARTED = {"squid": squid, "tinyproxy": tinyproxy, "mitmproxy": mitmproxy}


def names() -> list[str]:
    """Hosts that are allowed and never asked for."""
    return [f"api{i}.service{i % 977}.com" for i in range(NAMES)]


def secrets() -> dict[str, str]:
    """Ids to keys of 40 letters and digits."""
    rng = random.Random(0)
    return {f"KEY{i}": "".join(rng.choices(string.ascii_letters + string.digits, k=40)) for i in range(SECRETS)}


def _with_own() -> list[str]:
    """All names, the one that is asked for in the middle."""
    found = names()
    return [*found[: NAMES // 2], HOST, *found[NAMES // 2 :]]


@contextmanager
def _running(name: str, command: list[str], port: int) -> Iterator[Side]:
    """A process, once it listens."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            end = time.monotonic() + SECONDS
            while not _listens(port):
                if process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"{name} did not start: {' '.join(command)}")
                time.sleep(0.05)
            yield Side(name, port, process.pid)
        finally:
            process.kill()


def _listens(port: int) -> bool:
    with socket.socket() as wire:
        return wire.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as wire:
        wire.bind(("127.0.0.1", 0))
        return wire.getsockname()[1]
