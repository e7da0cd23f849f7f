"""Replay recorded calls of clients against the simulated API server, and tell where its answers differ.

Names that servers choose, times, uids, resourceVersions and continue tokens are learned: what the recording has in two
places must be the same in both places of the replay.
"""

import http.client
import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from dagster_ray.simulator._api.access import Access, Account, Rule
from dagster_ray.simulator._api.faults import Faults
from dagster_ray.simulator._api.schema import admit
from dagster_ray.simulator._api.server import ApiServer
from dagster_ray.simulator._api.store import Store

RECORDINGS = Path(__file__).parents[4] / "tests-integration/recordings/api"
START = datetime(2026, 1, 1, tzinfo=UTC)  # the time stands still
WATCH_SECONDS = 1
_LEARNED = {"uid", "resourceVersion", "continue"}
_TIMES = {"creationTimestamp", "deletionTimestamp"}
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_READ = ["get", "list", "watch"]
CLIENT = (
    Rule(["ray.io"], ["rayjobs", "rayclusters"], [*_READ, "create", "patch", "update", "delete"]),
    Rule([""], ["pods", "services"], _READ),
    Rule([""], ["pods/log", "secrets"], ["get"]),
    Rule([""], ["events"], ["get", "list"]),
    Rule(["coordination.k8s.io"], ["leases"], ["get", "create", "update"]),
    Rule([""], ["configmaps"], ["get", "list", "create", "update", "delete"]),
)


def recordings() -> list[tuple[str, str]]:
    """Version and scenario of each recording."""
    return sorted((file.parent.name, file.stem) for file in RECORDINGS.glob("*/*.json"))


def recorded(version: str, scenario: str) -> list[dict[str, Any]]:
    """Return one recording."""
    return json.loads((RECORDINGS / version / f"{scenario}.json").read_text(encoding="utf-8"))


class Replay:
    """One recording against a fresh API server, which must be started."""

    def __init__(self, version: str, scenario: str) -> None:
        self.namespace = f"ray-{scenario}"
        self.store = Store(
            lambda: START, admit=lambda kind, obj, old: admit(cast("Any", kind), obj, version, old).object
        )
        self.store.create("namespaces", {"metadata": {"name": self.namespace}})
        access = Access(anonymous=Account("system:anonymous"))
        access.accounts["client"] = Account("ray-client", CLIENT, frozenset({self.namespace, "no-such-ns"}))
        access.accounts["admin"] = Account("admin", (Rule(["*"], ["*"], ["*"]),))
        self.server = ApiServer(self.store, Faults(self.store, access), access, None, version, 0)
        self.learned: dict[str, str] = {}
        self._written = 0

    def differences(self, step: Mapping[str, Any]) -> list[str]:
        """Do one step; return where the answer is not the recorded one."""
        if "do" in step:
            self._outside(step)
            return []
        status, headers, body = self._send(step)
        found = [] if status == step["status"] else [f"status {status}, recorded {step['status']}"]
        for name, value in step["headers"].items():
            want = cast("list[Any]", value if isinstance(value, list) else [value])
            if (got := headers.get_all(name) or []) != want:
                found.append(f"header {name}: {got}, recorded {want}")
        if "stream" not in step:
            answer = json.loads(body) if "json" in headers.get("Content-Type", "") else body.decode()
            return found + list(self._compared(answer, step["response"], ""))
        lines = [json.loads(line) for line in body.splitlines()]
        return found + self._compared_stream(lines, step["stream"])

    def _compared_stream(self, lines: list[Any], want: list[Any]) -> list[str]:
        """Compare the lines of a watch; of the bookmarks, which come by the clock, the last one."""
        shorter = [[line for line in side if line["type"] != "BOOKMARK"] for side in (lines, want)]
        bookmarks = [[line for line in side if line["type"] == "BOOKMARK"][-1:] for side in (lines, want)]
        return list(self._compared([*shorter[0], *bookmarks[0]], [*shorter[1], *bookmarks[1]], "stream"))

    def _outside(self, step: Mapping[str, Any]) -> None:
        plural = step["plural"]
        if step["do"] == "create":
            self.store.create(plural, self._translated(step["object"]))
        elif step["do"] == "remove":
            self.store.remove(plural, self.namespace, step["name"])
        elif obj := self.store.get(plural, self.namespace, step["name"]):
            self._written += 1
            self.store.replace_status(
                plural, {**obj, "status": {**step["status"], "observedGeneration": self._written}}
            )

    def _send(self, step: Mapping[str, Any]) -> tuple[int, http.client.HTTPMessage, bytes]:
        path = self._translated(re.sub(r"timeoutSeconds=\d+", f"timeoutSeconds={WATCH_SECONDS}", step["path"]))
        body = step.get("raw_body")
        if "body" in step:
            body = json.dumps(self._translated(step["body"]))
        headers = {"Accept": step.get("accept", "application/json")}
        headers |= {"Content-Type": step["content_type"]} if "content_type" in step else {}
        headers |= {} if step["as"] == "nobody" else {"Authorization": f"Bearer {step['as']}"}
        connection = http.client.HTTPConnection("127.0.0.1", self.server.server_port, timeout=30)
        try:
            connection.request(step["method"], path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def _translated(self, value: Any) -> Any:
        """Return what was recorded, with what servers choose as this one has chosen it."""
        text = value if isinstance(value, str) else json.dumps(value)
        for old, new in self.learned.items():
            text = re.sub(rf"(?<![\w-]){re.escape(old)}(?![\w-])", lambda _, new=new: new, text)
        return text if isinstance(value, str) else json.loads(text)

    def _compared(self, got: Any, want: Any, path: str) -> Iterator[str]:
        if isinstance(got, dict) and isinstance(want, dict):
            mine, theirs = cast("dict[str, Any]", got), cast("dict[str, Any]", want)
            if "generateName" in theirs and "name" in mine:
                self.learned.setdefault(theirs["name"], mine["name"])
            if mine.get("kind") in {"RayJob", "RayCluster"}:
                mine = {key: part for key, part in mine.items() if key != "status" or "metadata" not in mine}
            for key in sorted(mine.keys() | theirs.keys()):
                yield from self._compared_member(mine, theirs, key, f"{path}.{key}")
        elif isinstance(got, list) and isinstance(want, list):
            many, others = cast("list[Any]", got), cast("list[Any]", want)
            if len(many) != len(others):
                yield f"{path}: {len(many)} items, recorded {len(others)}: {str(many)[:400]}"
            for number, (one, other) in enumerate(zip(many, others, strict=False)):
                yield from self._compared(one, other, f"{path}[{number}]")
        elif got != self._expected(want):
            yield f"{path}: {got!r}, recorded {want!r}"

    def _expected(self, want: Any) -> Any:
        return self._translated(want) if isinstance(want, str) else want

    def _compared_member(self, got: Mapping[str, Any], want: Mapping[str, Any], key: str, path: str) -> Iterator[str]:
        if key not in got or key not in want:
            yield f"{path}: {'missing' if key in want else 'not recorded'}"
            return
        mine, theirs = got[key], want[key]
        if key in _TIMES and isinstance(mine, str):
            if not _TIME.fullmatch(mine):
                yield f"{path}: {mine} is no time"
        elif key in _LEARNED and theirs and mine and isinstance(theirs, str):
            if self.learned.setdefault(theirs, mine) != mine:
                yield f"{path}: {mine}, recorded {theirs}, known as {self.learned[theirs]}"
        else:
            yield from self._compared(mine, theirs, path)
