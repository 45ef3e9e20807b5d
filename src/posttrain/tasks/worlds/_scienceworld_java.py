"""Java processes with ScienceWorld's simulator, shared by the worlds of this process."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from typing import Any

from posttrain.extras import need

_OPTIONS = (
    "-XX:+UseSerialGC",
    "-XX:+UnlockExperimentalVMOptions",
    "-XX:hashCode=2",
    "-XX:+IgnoreUnrecognizedVMOptions",
)

_PER_MESSAGE = 100


class Java:
    """One process. Its lock is held around every use."""

    def __init__(self) -> None:
        jar, py4j = need("scienceworld").constants.JAR_PATH, need("py4j.java_gateway")
        self._folder = tempfile.TemporaryDirectory()  # the simulator writes a file to where it runs
        port, self._process = py4j.launch_gateway(
            classpath=jar, javaopts=list(_OPTIONS), die_on_exit=True, return_proc=True, cwd=self._folder.name
        )
        # py4j would tell Java of every object that Python collects, whenever and in whichever thread it does
        parameters = py4j.GatewayParameters(port=port, auto_field=True, enable_memory_management=False)
        self._gateway = py4j.JavaGateway(gateway_parameters=parameters)
        self.lock, self.users = threading.RLock(), 0
        jvm = self._gateway.jvm
        self._simulator = jvm.scienceworld.runtime.pythonapi.PythonInterface
        self.clerk = self.simulator()
        """A simulator to ask about tasks."""
        self.count = jvm.util.UniqueIdentifier.count
        self._set_count = getattr(jvm.util.UniqueIdentifier, "count_$eq")
        self._random = getattr(getattr(jvm.scala.util, "Random$"), "MODULE$")
        self._simplifier = jvm.main.scala.scienceworld.runtime.SimplifierProcessor
        self._join = jvm.java.lang.String.join
        self._simplifications = ""

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def simulator(self) -> Any:
        """A new one."""
        with self.lock:
            return self._simulator()

    def load(self, simulator: Any, task: str, variation: int, simplification: str) -> str:
        """Begin a task; its simplifications in the simulator's own words."""
        known = ["easy", *simulator.getPossibleSimplifications().split(", ")]
        unknown = [name for name in simplification.split(",") if name and name not in known]
        if unknown:
            raise ValueError(f"There is no simplification {unknown[0]!r}; the simplifications are {', '.join(known)}.")
        last = simulator.getTaskMaxVariations(task) - 1
        if not 0 <= variation <= last:
            raise ValueError(f"{task} has no variation {variation}; expected 0 to {last}.")
        problem = simulator.load(task, variation, simplification, False)
        if problem:
            raise ValueError(f"ScienceWorld cannot begin {task}, variation {variation}: {problem}")
        self._simplifications = self._simplifier.getSimplificationsUsed()
        return self._simplifications

    def put(self, seed: int, count: int, simplifications: str) -> None:
        """Set what the simulator keeps for all worlds."""
        self._random.setSeed(seed)
        self._set_count(count)
        if simplifications != self._simplifications:
            self.release(self._simplifier.parseSimplificationStr(simplifications))
            self._simplifications = simplifications

    def texts(self, found: Any) -> list[str]:
        """A Java list of texts, a hundred per message: Java waits for 40 ms in the middle of one above 8 KB."""
        texts, size = [], found.size()
        for start in range(0, size, _PER_MESSAGE):
            part = found.subList(start, min(start + _PER_MESSAGE, size))
            texts += self._join("\n", part).split("\n")
            self.release(part)
        self.release(found)
        return texts

    def numbers(self, found: Any) -> list[int]:
        """A Java list of whole numbers."""
        written = found.toString()
        self.release(found)
        return json.loads(written)

    def release(self, thing: Any) -> None:
        """Let Java forget an object."""
        if self.alive:
            self._gateway.detach(thing)

    def kill(self) -> None:
        """End the process at once, whatever it is doing."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """End the process, which goes when its standard input is closed."""
        if self.alive:
            self._gateway.shutdown()
        else:
            self._gateway.close()
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._folder.cleanup()


_running: dict[int, Java] = {}
_running_lock = threading.Lock()


def check_java() -> None:
    """Raise if the package or Java is missing."""
    need("scienceworld")
    if shutil.which("java") is None:
        raise FileNotFoundError("ScienceWorld needs Java, and there is no `java`: apt install default-jre-headless")


def borrow(number: int) -> Java:
    """The running process of this number, or a new one."""
    with _running_lock:
        java = _running.get(number)
        if java is None or not java.alive:
            check_java()
            java = _running[number] = Java()
        java.users += 1
        return java


def give_back(java: Java) -> None:
    """End a process that nobody uses any more."""
    with _running_lock:
        java.users -= 1
        if not java.users:
            for number in [number for number, running in _running.items() if running is java]:
                del _running[number]
            java.stop()


@contextlib.contextmanager
def borrowed() -> Iterator[Java]:
    """Process 0, alone and for a moment."""
    java = borrow(0)
    try:
        with java.lock:
            yield java
    finally:
        give_back(java)
