"""The result as a table, plain or with rich, and as JSON."""

import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.measure import Figures

HEADERS = (
    "case", "subject", "req/s", "p50 ms", "p99 ms", "added p50", "added p99",
    "added first chunk", "CPU ms", "CPU ratio",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Bar:
    """A promise of the project and what was measured against it."""

    name: str
    limit: float
    value: float

    @property
    def met(self) -> bool:
        """Whether the promise holds in this run."""
        return self.value <= self.limit


@dataclass(frozen=True, slots=True)
class Report:
    """All that one run of the benchmark found."""

    machine: str
    figures: Mapping[tuple[str, str], Figures]
    missing: Mapping[tuple[str, str], str]
    memory: Mapping[str, float]  # MB after load
    import_seconds: float | None

    def ratio(self, case: str, field: str) -> float | None:
        """This gateway's figure over Portkey's."""
        own, other = (self.figures.get((case, name)) for name in ("gateway", "portkey"))
        return getattr(own, field) / getattr(other, field) if own and other else None

    def bars(self) -> Iterator[Bar]:
        """The bars that this run can judge."""
        ratios = (
            ("json, 16 connections", "cpu", 0.4),
            ("stream, 16 connections", "cpu", 0.25),
            ("stream, 16 connections, 5 ms apart", "cpu", 0.6),
            *(
                (f"json, {n} connection{'s' * (n > 1)}", part, 1.0)
                for n in (1, 16, 64)
                for part in ("p50", "p99")
            ),
        )
        for case, field, limit in ratios:
            ratio = self.ratio(case, field)
            if ratio is not None:
                yield Bar(f"{case}: {field} over Portkey's", limit, ratio)
        first = self.figures.get(("first chunk, 1 connection", "gateway"))
        if first:
            yield Bar("first chunk after the upstream's, ms", 5.0, first.first_chunk)
        if "gateway" in self.memory:
            yield Bar("memory after load, MB", 110.0, self.memory["gateway"])
        if self.import_seconds is not None:
            yield Bar("import of function_app, s", 1.0, self.import_seconds)

    def rows(self) -> Iterator[tuple[str, ...]]:
        """One row for each case and subject."""
        for (case, subject), f in self.figures.items():
            ratio = self.ratio(case, "cpu") if subject == "gateway" else None
            added = ("", "", "") if subject == "upstream" else (
                f"{f.added_p50:.2f}", f"{f.added_p99:.2f}", f"{f.first_chunk:.2f}"
            )  # fmt: skip
            yield (
                case, subject, f"{f.rate:.0f}", f"{f.p50:.2f}", f"{f.p99:.2f}", *added, f"{f.cpu:.3f}",
                "" if ratio is None else f"{ratio:.2f}",
            )  # fmt: skip

    def notes(self) -> Iterator[str]:
        """What the table does not hold."""
        for subject, megabytes in self.memory.items():
            yield f"memory after load, {subject}: {megabytes:.0f} MB"
        for (case, subject), why in self.missing.items():
            yield f"{case}: not measured for {subject}: {why}"
        yield self.machine

    def as_json(self) -> str:
        """Everything, for other programs."""
        found = [
            {"case": case, "subject": subject} | asdict(figures)
            for (case, subject), figures in self.figures.items()
        ]
        bars = [asdict(bar) | {"met": bar.met} for bar in self.bars()]
        missing = [{"case": c, "subject": s, "why": why} for (c, s), why in self.missing.items()]
        return json.dumps(
            {
                "machine": self.machine,
                "figures": found,
                "bars": bars,
                "memory_mb": dict(self.memory),
                "import_seconds": self.import_seconds,
                "missing": missing,
            },
            indent=2,
        )


def machine() -> str:
    """The machine in one line."""
    model = "unknown CPU"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    node = shutil.which("node")
    version = (
        subprocess.run([node, "--version"], capture_output=True, text=True).stdout.strip() if node else "none"
    )
    return f"{model}, server on one core; Python {platform.python_version()}, Node {version}"


def show(report: Report) -> None:
    """Print for a person: with rich on a terminal where it is installed, else plain."""
    bars = [(b.name, f"{b.limit:g}", f"{b.value:.2f}", "met" if b.met else "MISSED") for b in report.bars()]
    rows = list(report.rows())
    if not (sys.stdout.isatty() and _rich(rows, bars)):
        print(_plain(HEADERS, rows))
        print()
        print(_plain(("bar", "at most", "measured", ""), bars))
    print()
    for note in report.notes():
        print(note)


def _rich(rows: Sequence[Sequence[str]], bars: Sequence[Sequence[str]]) -> bool:
    """Print with rich; False where it is not installed."""
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        return False
    console = Console()
    for headers, lines in ((HEADERS, rows), (("bar", "at most", "measured", ""), bars)):
        table = Table(*headers)
        for line in lines:
            table.add_row(
                *line, style={"gateway": "bold", "MISSED": "red"}.get(line[1] if len(line) > 4 else line[3])
            )
        console.print(table)
    return True


def _plain(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, aligned for reading as it is."""
    widths = [max(len(line[i]) for line in (headers, *rows)) for i in range(len(headers))]
    lines = [headers, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in lines
    )
