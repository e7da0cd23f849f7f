"""The agent of a job's node: whether the address leads to it, found out beside the reading thread.

An address inside the cluster may lead elsewhere from here: to a machine that drops packets, or to another cluster with
the same pod network, whose agent answers 404 for a file that is there. Only an agent that has served a byte of the
job's own log is believed.
"""

import threading
from collections.abc import Callable
from urllib.parse import urlsplit

from dagster_ray.pipes._job_server import Connection, JobServer

_CALL_SECONDS = 10.0
_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 15.0
_JOIN_SECONDS = 0.5

AgentRoute = Callable[[str], str | None]
"""Where an agent is reached from here, by the URL that the cluster knows it by; None: it is not."""


def may_have_token(dashboard: str, agent: str) -> bool:
    """Return whether an agent's address is that of the dashboard's machine, asked as openly as it is. Pure."""
    one, other = urlsplit(dashboard), urlsplit(agent)
    return one.scheme == other.scheme and one.hostname == other.hostname


class Agent:
    """One agent, for all files of a job. It is used once it has served a byte of the job's log."""

    def __init__(self, url: str, token: str | None, log_name: str) -> None:
        """Take the agent's address as it is reached from here, Ray's token if it may see it, and the log's name."""
        # What the user's ingress wants is none of the agent's business; a pod is never behind a proxy.
        self.server = JobServer(Connection(url.rstrip("/"), {}, {}, token, True, use_proxies=False))
        self._log_name = log_name
        self._known, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="ray agent probe", daemon=True)
        self._thread.start()

    @property
    def is_known(self) -> bool:
        """Whether it has proved to be the agent of the job's node."""
        return self._known.is_set()

    def close(self) -> None:
        """End the probe and all connections."""
        self._closing.set()
        self.server.close()
        self._thread.join(_JOIN_SECONDS)  # a connect that hangs ends by itself

    def _run(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while not self._closing.is_set():
            if self._serves():
                self._known.set()
                break
            self._closing.wait(pause)
            pause = min(_LONGEST_PAUSE_SECONDS, pause * 2)
        self.server.end_thread()

    def _serves(self) -> bool:
        """Return whether it serves the first byte of the job's log, as a range: no other server has this file."""
        url = f"{self.server.address}/logs/{self._log_name}"
        try:
            with self.server.open("GET", url, _CALL_SECONDS, headers={"Range": "bytes=0-0"}) as response:
                return response.status_code == 206 and len(response.raw.read(2)) == 1
        except Exception:  # noqa: BLE001 - whatever it is, the address has not proved itself; the dashboard has all
            return False
