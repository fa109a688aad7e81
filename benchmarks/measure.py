"""Rounds of load, interleaved, and their medians."""

import asyncio
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.cases import Case
from benchmarks.client import Load, Request, run
from benchmarks.process import pinned
from benchmarks.subjects import ROOT, SERVER_CORE, Subject, Unsupported, environment

IMPORT = "import time; t = time.perf_counter(); import function_app; print(time.perf_counter() - t)"


@dataclass(frozen=True, slots=True)
class Figures:
    """One subject in one case; latencies in ms, CPU in ms a request."""

    rate: float  # requests a second
    p50: float
    p99: float
    added_p50: float  # against the bare upstream in the same round
    added_p99: float
    first_chunk: float  # median, added to the bare upstream's
    cpu: float


@dataclass(frozen=True, slots=True)
class Run:
    """One subject, one case, one round."""

    rate: float
    p50: float
    p99: float
    first_chunk: float
    cpu: float


Runs = dict[tuple[str, str], list[Run]]  # (case, subject) -> one Run a round


def measure(
    subjects: Sequence[Subject],
    cases: Sequence[Case],
    rounds: int,
    seconds: float,
    say: Callable[[str], None],
) -> tuple[dict[tuple[str, str], Figures], dict[tuple[str, str], str]]:
    """Figures by (case name, subject name), and why a pair is missing."""
    missing = _probe(subjects, cases)
    runs: Runs = {}
    for number in range(rounds + 1):  # round 0 is not counted: Node compiles its hot paths in it
        for case in cases:
            say(f"round {number} of {rounds}: {case.name}")
            turn = number % len(subjects)  # each subject is first in turn
            for subject in (*subjects[turn:], *subjects[:turn]):
                if (case.name, subject.name) not in missing:
                    seen = _run(subject, case, seconds)
                    runs.setdefault((case.name, subject.name), []).extend([seen] if number else [])
    return {key: _figures(key, runs) for key in runs}, missing


def _probe(subjects: Sequence[Subject], cases: Sequence[Case]) -> dict[tuple[str, str], str]:
    """The pairs that do not work, each with its reason."""
    missing = {}
    for case in cases:
        for subject in subjects:
            try:
                subject.probe(case)
            except Unsupported as why:
                missing[case.name, subject.name] = str(why)
    return missing


def _run(subject: Subject, case: Case, seconds: float) -> Run:
    """A short warm-up, then the load that counts."""
    request = Request(subject.request(case), ends_with=b"[DONE]" if case.stream else b"")
    asyncio.run(run(subject.port, request, case.connections, seconds / 5))
    before = subject.server.cpu()
    load = asyncio.run(run(subject.port, request, case.connections, seconds))
    cpu = subject.server.cpu() - before
    if load.errors or not load.latencies:
        raise RuntimeError(f"{subject.name}, {case.name}: {len(load.errors)} bad answers: {load.errors[:1]}")
    return _summary(load, cpu)


def _summary(load: Load, cpu: float) -> Run:
    count = len(load.latencies)
    ordered = sorted(load.latencies)
    return Run(
        rate=count / load.seconds,
        p50=1000 * statistics.median(ordered),
        p99=1000 * ordered[min(count - 1, int(count * 0.99))],
        first_chunk=1000 * statistics.median(load.first_chunks),
        cpu=1000 * cpu / count,
    )


def _figures(key: tuple[str, str], runs: Runs) -> Figures:
    """Medians over the rounds; what is added is taken round by round."""
    own = runs[key]
    bare = runs.get((key[0], "upstream"), own)

    def middle(field: str) -> float:
        return float(statistics.median(getattr(run, field) for run in own))

    def added(field: str) -> float:
        pairs = zip(own, bare, strict=True)
        return float(statistics.median(getattr(run, field) - getattr(base, field) for run, base in pairs))

    return Figures(
        rate=middle("rate"),
        p50=middle("p50"),
        p99=middle("p99"),
        added_p50=added("p50"),
        added_p99=added("p99"),
        first_chunk=added("first_chunk"),
        cpu=middle("cpu"),
    )


def import_seconds(times: int = 5) -> float:
    """Median time to import function_app in a fresh process, its bytecode compiled."""
    seen = []
    for _ in range(times + 1):  # the first one compiles
        with pinned(SERVER_CORE):
            out = subprocess.run(
                [sys.executable, "-c", IMPORT],
                cwd=ROOT,
                env=environment(),
                check=True,
                capture_output=True,
                text=True,
                timeout=60,
            )
        seen.append(float(out.stdout.split()[-1]))
    return statistics.median(seen[1:])
