"""`python -m emulators`: the Azure OpenAI emulator in the foreground; its URL is the first line printed."""

import argparse
import signal
import threading

from emulators.azure_openai import AzureOpenAI
from emulators.server import Server


def main(arguments: list[str] | None = None) -> None:
    """Serves until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m emulators", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument(
        "--delay-ms", type=float, default=0, help="wait before the first byte and between chunks of a stream"
    )
    options = parser.parse_args(arguments)
    done = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: done.set())
    app = AzureOpenAI(delay_s=options.delay_ms / 1000)
    with Server(app, host=options.host, port=options.port) as server:
        print(server.url, flush=True)
        done.wait()


if __name__ == "__main__":
    main()
