"""A PostgreSQL server of one's own: an own port, an own folder, an unprivileged user."""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from real_head import free_ports

START_SECONDS = 60
# Where Debian keeps the server's programs: they are not in PATH.
DEBIAN = "/usr/lib/postgresql"
PROGRAMS = ("initdb", "postgres", "pg_isready")


@dataclass(frozen=True, slots=True)
class Database:
    """How the server is reached."""

    port: int
    password: str = field(repr=False)

    def storage(self, password: object) -> Mapping[str, Any]:
        """Return what `dagster.yaml` has below `storage`."""
        where = {"hostname": "127.0.0.1", "port": self.port, "username": "dagster", "db_name": "postgres"}
        # The driver that dagster-postgres brings; SQLAlchemy 2.1 takes another one unless told.
        scheme = "postgresql+psycopg2"
        return {"postgres": {"postgres_db": {**where, "password": password, "scheme": scheme}}}


def programs() -> Path | None:
    """Return the folder with the programs of the newest server that is installed here."""
    in_path = shutil.which("initdb")
    folders = [*Path(DEBIAN).glob("*/bin"), *([Path(in_path).resolve().parent] if in_path else [])]
    complete = [folder for folder in folders if all((folder / name).exists() for name in PROGRAMS)]
    return max(complete, key=_version, default=None)


def _version(programs: Path) -> list[int]:
    """Return the version that a folder of programs is named after: 9.6 is older than 15. A folder without is oldest."""
    return [int(number) for number in programs.parent.name.split(".") if number.isdecimal()]


def _user() -> Mapping[str, Any]:
    """Return for `Popen` whom the server runs as: it refuses root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": ()}


def _wait_until_ready(found: Path, port: int, process: subprocess.Popen[bytes]) -> None:
    """Return when the server lets clients in: it listens some moments before."""
    pause, asked = threading.Event(), [found / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port), "-t", "1"]
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"postgres ended with {process.returncode}")
        if subprocess.run(asked, check=False).returncode == 0:
            return
        pause.wait(0.1)
    raise TimeoutError("the database did not start")


def _fill(folder: Path, found: Path, password: str, user: Mapping[str, Any]) -> None:
    """Make the data of a server whose one user has a password."""
    (folder / "password").write_text(password)
    if user:
        for path in (folder, folder / "password"):
            os.chown(path, user["user"], user["group"])
    command = [found / "initdb", "-D", folder / "data", "-U", "dagster", "-A", "scram-sha-256", "-E", "UTF8"]
    command += ["--no-sync", f"--pwfile={folder / 'password'}"]
    subprocess.run(command, check=True, cwd=folder, capture_output=True, timeout=START_SECONDS, **user)


@contextmanager
def _server(folder: Path, found: Path, port: int, user: Mapping[str, Any]) -> Generator[None]:
    # Without a socket in a folder that other servers of this machine use, and without waiting for the disk.
    command = [found / "postgres", "-D", folder / "data", "-p", str(port), "-h", "127.0.0.1", "-k", "", "-F"]
    with (folder / "log").open("wb") as log:
        process: Any = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True, **user)
    try:
        _wait_until_ready(found, port, process)
        yield
    finally:
        process.send_signal(signal.SIGINT)  # ends sessions, too
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


@contextmanager
def postgresql() -> Generator[Database]:
    """Start a server, and end it with its data; skip the test where none is installed."""
    found = programs()
    if found is None:
        pytest.skip("no PostgreSQL server is installed here (apt-get install postgresql)")
    (port,), user, password = free_ports(1), _user(), secrets.token_hex(16)
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    try:
        _fill(folder, found, password, user)
        with _server(folder, found, port, user):
            yield Database(port, password)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
