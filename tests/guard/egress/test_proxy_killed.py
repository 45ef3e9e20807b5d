"""`kill -9` of a proxy under load, and what the next one knows."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

from proxied import OK, SECRET, Origin, awaited, plain, user

PROGRAM = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from proxied import SECRET, policy
from posttrain.guard.egress.gateway import Gateway
from posttrain.guard.egress.proxy import Proxy
from posttrain.guard.egress.resolver import StaticResolver

async def serve():
    names = StaticResolver({"api.test": ["127.0.0.1"]})
    rules = policy(int(sys.argv[2]))
    async with Gateway(rules, log=Path(sys.argv[3]), secrets={"key": SECRET}, resolver=names) as gateway:
        async with Proxy(gateway) as proxy:
            print(proxy.port, flush=True)
            await asyncio.sleep(60)

asyncio.run(serve())
"""


def start(port: int, log: Path) -> tuple[subprocess.Popen, int]:
    """A proxy in a process of its own, and its port."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(Path(__file__).parent), str(port), str(log)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    return process, int(process.stdout.readline())


async def ask(port: int, request: bytes) -> int:
    """The status of one answer; 0 where there is none."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        answer = await reader.read(-1)
        writer.close()
    except ConnectionError:
        return 0
    return int(answer.split()[1]) if answer else 0


@awaited
async def test_every_request_that_arrived_is_in_the_log_and_the_next_proxy_counts_on(tmp_path):
    """Each request is a session of its own, so that the log, which holds no contents, tells them apart."""
    origin, log = Origin([OK]), tmp_path / "egress.jsonl"
    server = await asyncio.start_server(origin, "127.0.0.1", 0)
    at = f"api.test:{(port := server.sockets[0].getsockname()[1])}"
    async with server:
        process, proxy = await asyncio.to_thread(start, port, log)
        assert await ask(proxy, plain(at, f"/?q={SECRET[:6]}", user("shards"))) == 200
        load = [asyncio.create_task(ask(proxy, plain(at, f"/n{i}", user(f"n{i}")))) for i in range(400)]
        while len(origin.requests) < 60:
            await asyncio.sleep(0.001)
        process.kill()
        process.wait()
        statuses = await asyncio.gather(*load)
        assert 0 in statuses
        arrived = {line.split()[1].decode()[1:] for line in origin.requests[1:]}
        lines = log.read_bytes().split(b"\n")
        records = [json.loads(line) for line in lines[:-1]]
        logged = {record["facts"]["session"] for record in records if record.get("sent")}
        assert arrived <= logged
        assert len(arrived) >= 59

        process, proxy = await asyncio.to_thread(start, port, log)
        assert await ask(proxy, plain(at, f"/?q={SECRET[6:12]}", user("others"))) == 200
        assert await ask(proxy, plain(at, f"/?q={SECRET[6:12]}", user("shards"))) == 403
        process.kill()
        process.wait()
