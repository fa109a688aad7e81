"""`python -m gateway` that also counts its asyncio tasks on SIGUSR1, into the file SOAK_COUNTS.

The soak test starts the gateway through this, so that the gateway itself needs no way to look inside.
"""

import asyncio
import os
import runpy
import signal
from collections import Counter
from pathlib import Path
from types import FrameType


def count(signum: int, frame: FrameType | None) -> None:
    """Write a line for each kind of task: how many, and its coroutine."""
    # A signal's handler runs in the main thread, inside whatever the event loop does there.
    tasks = Counter(str(task.get_coro()).split(" at 0x")[0] for task in asyncio.all_tasks())
    target = Path(os.environ["SOAK_COUNTS"])
    draft = target.with_suffix(".draft")
    draft.write_text("".join(f"{number} {name}\n" for name, number in tasks.items()))
    draft.replace(target)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, count)
    runpy.run_module("gateway", run_name="__main__", alter_sys=True)
