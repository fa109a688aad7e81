"""`python -m benchmarks.soak`: 100,000 mixed requests, then nothing may be left of them.

A tenth are 429s and broken streams, others leave in mid-stream or bring a wrong key. Memory may grow by 5 MB
after the first tenth; file descriptors and asyncio tasks must be back where they began.
"""

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.process import Server, pinned
from benchmarks.soak_client import KINDS, Soaker
from benchmarks.subjects import CLIENT_CORE, gateway, upstream

CLIENTS = 32
LAPS = 10  # the first is the warm-up
GROWTH = 5.0  # MB
WRITTEN = 3.0  # seconds, after which the first records are written, and their files open
SETTLES = 100.0  # seconds; connections to the upstream are kept for 60


@dataclass(frozen=True, slots=True)
class Held:
    """What the gateway's process holds at a quiet moment."""

    memory: float  # MB
    files: int
    tasks: int
    names: str  # of the tasks

    def __str__(self) -> str:
        return f"{self.memory:.1f} MB, {self.files} file descriptors, {self.tasks} tasks"


def held(server: Server, counts: Path) -> Held:
    """Look at the process; the launcher counts the tasks."""
    counts.unlink(missing_ok=True)
    os.kill(server.process.pid, signal.SIGUSR1)
    end = time.monotonic() + 20
    while not counts.exists():
        if time.monotonic() > end or server.process.poll() is not None:
            raise RuntimeError(f"no answer from the gateway's process:\n{server.last_words()}")
        time.sleep(0.05)
    names = counts.read_text()
    tasks = sum(int(line.split()[0]) for line in names.splitlines())
    return Held(server.memory(), server.open_files(), tasks, names)


async def lap(port: int, requests: int, dice: random.Random) -> Counter[str]:
    """That many requests by all clients together; how many there were of each kind."""
    numbers = iter(range(requests))
    seen: Counter[str] = Counter()

    async def client(soaker: Soaker, work: Iterator[int]) -> None:
        for _ in work:
            seen[await soaker.send()] += 1
        await soaker.leave()

    async with asyncio.TaskGroup() as group:
        for _ in range(CLIENTS):
            group.create_task(client(Soaker(port, random.Random(dice.random())), numbers))
    return seen


async def one_of_each(port: int) -> None:
    """Let the gateway open what it keeps open."""
    soaker = Soaker(port, random.Random(0))
    for kind in KINDS:
        await soaker.ask(kind)
    await soaker.leave()


def settled(server: Server, counts: Path, before: Held) -> Held:
    """Wait until files and tasks are back at `before`, or say what they are at last."""
    end = time.monotonic() + SETTLES
    while True:
        now = held(server, counts)
        if (now.files <= before.files and now.tasks <= before.tasks) or time.monotonic() > end:
            return now
        time.sleep(1)


def soak(requests: int, seed: int) -> list[str]:
    """Run it; what is wrong at the end."""
    with tempfile.TemporaryDirectory(prefix="soak-") as name, pinned(CLIENT_CORE):
        folder = Path(name)
        counts = folder / "tasks"
        os.environ["SOAK_COUNTS"] = str(counts)
        with (
            upstream(folder / "upstream") as bare,
            gateway(folder / "gateway", bare.upstream, "benchmarks.soak_launcher") as subject,
        ):
            asyncio.run(one_of_each(subject.port))
            time.sleep(WRITTEN)
            before = held(subject.server, counts)
            print(f"at the start: {before}", flush=True)
            laps = _laps(subject.port, subject.server, counts, requests, random.Random(seed))
            after = settled(subject.server, counts, before)
    print(f"at the end: {after}")
    growth = laps[-1] - laps[0]
    print(f"memory grew by {growth:.1f} MB after warm-up")
    return [
        *([f"memory grew by {growth:.1f} MB, more than {GROWTH:g}"] if growth > GROWTH else []),
        *([f"{after.files - before.files} file descriptors left"] if after.files > before.files else []),
        *([f"tasks left, now:\n{after.names}before:\n{before.names}"] if after.tasks > before.tasks else []),
    ]


def _laps(port: int, server: Server, counts: Path, requests: int, dice: random.Random) -> list[float]:
    """All laps; the memory after each, MB."""
    memory = []
    for number in range(LAPS):
        start = time.monotonic()
        seen = asyncio.run(lap(port, requests // LAPS, dice))
        rate = seen.total() / (time.monotonic() - start)
        time.sleep(1)  # what the last requests left running ends
        now = held(server, counts)
        memory.append(now.memory)
        kinds = ", ".join(f"{name} {times}" for name, times in sorted(seen.items()))
        print(f"lap {number + 1} of {LAPS}: {rate:.0f} requests/s; {now}; {kinds}", flush=True)
    return memory


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description="Look for leaks.")
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    wrong = soak(options.requests, options.seed)
    for line in wrong:
        print(f"WRONG: {line}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
