"""The gateway as users run it: a process of its own, told to stop by SIGTERM."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx

ROOT = Path(__file__).parents[2]
PATIENCE = 60  # seconds for a start or a stop; a machine under load takes long, a dead process forever

# As `python -m gateway`, but every logger says all it has to say.
_LOUD = """
import logging, sys

class All(logging.Formatter):
    def format(self, record):
        return super().format(record) + " " + repr(vars(record))

handler = logging.StreamHandler()
handler.setFormatter(All("%(levelname)s %(name)s %(message)s"))
logging.basicConfig(level=logging.DEBUG, handlers=[handler])
sys.argv[0] = "gateway"
from gateway.__main__ import main
sys.exit(main())
"""


def base_environ() -> dict[str, str]:
    """What a fresh shell has: no setting of the gateway, no proxy, no key of any SDK."""
    kept = ("PATH", "HOME", "LANG", "SYSTEMROOT", "TMPDIR", "TEMP")
    return {name: os.environ[name] for name in kept if name in os.environ}


@dataclass(slots=True)
class GatewayProcess:
    """`with GatewayProcess(folder, {...}) as gateway:` serves at `gateway.url`, `gateway.key` is the admin's."""

    folder: Path  # working folder; the data folder is in it unless the environment names another
    environ: Mapping[str, str] = field(default_factory=dict)
    loud: bool = False
    script: str = ""  # Python to run in place of the gateway's own front door
    url: str = ""
    key: str = ""
    _process: "subprocess.Popen[str] | None" = None
    _lines: list[str] = field(default_factory=list)
    _heard: threading.Condition = field(default_factory=threading.Condition)
    _ended: bool = False

    def start(self) -> Self:
        env = {**base_environ(), "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        env["GATEWAY_DATA_DIR"] = str(self.folder / "data")
        script = self.script or (_LOUD if self.loud else "")
        command = ["-c", script] if script else ["-m", "gateway"]
        self._ended = False
        self._process = subprocess.Popen(
            [sys.executable, *command, "--port", "0"],
            cwd=self.folder,
            env={**env, **self.environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        threading.Thread(target=self._listen, daemon=True).start()
        self.url = self._wait_for(r"Gateway on (http://\S+)")
        if found := re.search(r"shown this once: (gw-\S+)", self.output):
            self.key = found[1]
        self.key = self.environ.get("GATEWAY_ADMIN_KEY", self.key)
        return self

    def stop(self, number: int = signal.SIGTERM) -> int:
        """The exit code; everything answered is written when it returns."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            return self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise AssertionError(f"the gateway did not stop on {number}:\n{self.output}") from None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def output(self) -> str:
        """All it wrote so far, to both streams."""
        with self._heard:
            return "".join(self._lines)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def api(self, method: str, path: str, *, status: int = 200, **options: Any) -> Any:
        """A management call by the admin; its JSON."""
        headers = {"x-portkey-api-key": self.key, **options.pop("headers", {})}
        answer = httpx.request(method, self.url + path, headers=headers, timeout=PATIENCE, **options)
        assert answer.status_code == status, answer.text
        return answer.json()

    def _listen(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            for line in stream:
                with self._heard:
                    self._lines.append(line)
                    self._heard.notify_all()
        with self._heard:
            self._ended = True
            self._heard.notify_all()

    def _wait_for(self, pattern: str) -> str:
        with self._heard:
            self._heard.wait_for(
                lambda: self._ended or re.search(pattern, "".join(self._lines)), timeout=PATIENCE
            )
            found = re.search(pattern, "".join(self._lines))
            assert found is not None, f"the gateway did not start:\n{''.join(self._lines)}"
            return found[1]
