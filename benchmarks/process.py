"""Servers under test: started on one core, watched through /proc, always stopped."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

TICK = 1 / os.sysconf("SC_CLK_TCK")  # seconds; the unit of /proc/PID/stat
PROC = Path("/proc")


@contextlib.contextmanager
def pinned(core: int) -> Iterator[None]:
    """Run on `core`, and let every process started inside inherit that."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def free_port() -> int:
    """A port of loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A server process, its children included."""

    def __init__(
        self, command: Sequence[str], core: int, folder: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.log = folder / "server.log"
        with pinned(core), self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_for(self, port: int, seconds: float = 30.0) -> None:
        """Return once `port` takes connections; raise with the server's last words if it never does."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return
            time.sleep(0.05)
        raise RuntimeError(f"{self.process.args!r} did not listen on {port}:\n{self.last_words()}")

    def last_words(self) -> str:
        """The end of its output."""
        return self.log.read_text(errors="replace")[-3000:]

    def pids(self) -> list[int]:
        """The process and all below it."""
        parents = {pid: int(stat[1]) for pid, stat in _stats()}
        tree = [self.process.pid]
        for pid in tree:
            tree += [child for child, parent in parents.items() if parent == pid]
        return tree

    def cpu(self) -> float:
        """Seconds of user and system time so far, of the whole tree and its reaped children."""
        tree = set(self.pids())
        return sum(sum(map(int, stat[11:15])) for pid, stat in _stats() if pid in tree) * TICK

    def memory(self) -> float:
        """Resident memory of the tree, MB."""
        return sum(_resident_kb(pid) for pid in self.pids()) / 1024

    def open_files(self) -> int:
        """File descriptors of the process itself."""
        return len(list((PROC / str(self.process.pid) / "fd").iterdir()))

    def stop(self) -> None:
        """Ask, wait, insist."""
        if self.process.stdin:
            self.process.stdin.close()
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(5)


def _stats() -> Iterator[tuple[int, list[str]]]:
    """Each process with its /proc/PID/stat from the state on (proc(5): ppid 1, utime to cstime 11 to 14)."""
    for folder in PROC.iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                yield int(folder.name), (folder / "stat").read_text().rpartition(")")[2].split()


def _resident_kb(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in (PROC / str(pid) / "status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
    return 0
