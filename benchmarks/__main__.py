"""`python -m benchmarks`: this gateway, Portkey's and the bare upstream, measured in turn.

The server under test has one core, client and upstream share another one. Needs Linux, two cores, and Node
with npm for Portkey's gateway.
"""

import argparse
import contextlib
import os
import sys
import tempfile
from pathlib import Path

from benchmarks.cases import CASES
from benchmarks.measure import import_seconds, measure
from benchmarks.process import pinned
from benchmarks.report import Report, machine, show
from benchmarks.subjects import CLIENT_CORE, SERVER_CORE, Subject, gateway, portkey, upstream


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure the gateway's own cost."
    )
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each case (default 5)")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one measurement (default 2)")
    parser.add_argument("--case", default="", help="only the cases whose name holds this")
    parser.add_argument("--without", action="append", default=[], choices=("gateway", "portkey"))
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a bar is missed")
    return parser.parse_args()


def main() -> int:
    """Start the subjects, measure, print."""
    options = arguments()
    if not {SERVER_CORE, CLIENT_CORE} <= os.sched_getaffinity(0):
        print("two cores are needed: one for the server, one for client and upstream", file=sys.stderr)
        return 2
    with pinned(CLIENT_CORE):
        report = _measured(options)
    if options.json:
        print(report.as_json())
    else:
        show(report)
    return int(options.check and not all(bar.met for bar in report.bars()))


def _measured(options: argparse.Namespace) -> Report:
    """All rounds, with the servers up for just as long."""
    cases = [case for case in CASES if options.case in case.name]
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        bare = stack.enter_context(upstream(folder / "upstream"))
        subjects: list[Subject] = [bare]
        for name, start in (("portkey", portkey), ("gateway", gateway)):
            if name not in options.without:
                subjects.append(stack.enter_context(start(folder / name, bare.upstream)))
        figures, missing = measure(subjects, cases, options.rounds, options.seconds, _say)
        memory = {subject.name: subject.server.memory() for subject in subjects[1:]}
    imported = None if "gateway" in options.without else import_seconds()
    return Report(machine(), figures, missing, memory, imported)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
