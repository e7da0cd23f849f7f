"""Serve a simulated Kubernetes cluster: `python -m dagster_ray.simulator`."""

import argparse
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

from dagster_ray.simulator._simulator import Simulator


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m dagster_ray.simulator",
        description="A Kubernetes API with a KubeRay operator; heads are real Ray clusters on this machine.",
    )
    parser.add_argument("--version", default="1.7.0", help="KubeRay version to behave as (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1 (default: a free one)")
    parser.add_argument("--kubeconfig", type=Path, help="where to write the kubeconfig (default: a temporary file)")
    parser.add_argument("--fake-heads", action="store_true", help="start no Ray; heads only become ready")
    return parser.parse_args(words)


def main() -> None:
    """Serve until SIGINT or SIGTERM, then end everything."""
    chosen = arguments()
    over = threading.Event()

    def end(_signum: int, _frame: FrameType | None) -> None:
        over.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    with Simulator(
        chosen.version, port=chosen.port, kubeconfig=chosen.kubeconfig, fake_heads=chosen.fake_heads
    ) as simulator:
        sys.stdout.write(
            f"KubeRay {chosen.version} is served at {simulator.url}\n"
            f"export KUBECONFIG={simulator.kubeconfig}\nkubectl get rayjobs\n"
        )
        sys.stdout.flush()
        over.wait()


if __name__ == "__main__":
    main()
