"""Run the program of a kubeconfig that prints credentials, for no longer than its caller can wait."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from dagster_ray.core import Deadline
from dagster_ray.kuberay._kubernetes.errors import ExecPluginError
from dagster_ray.kuberay._kubernetes.fields import json_of, mapping, text
from dagster_ray.kuberay._kubernetes.kubeconfig import ExecPlugin

RUN_SECONDS = 60.0
_READ_BYTES = 1024 * 1024
_WORDS_LIMIT = 400
_SECRETS = re.compile(
    r"(?i)\bbearer\s+\S+|\beyJ[\w-]{8,}(?:\.[\w-]*)*|-----BEGIN.*?(?:-----END[^-]*-----|$)|(?<=://)[^/\s@]+@", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Printed:
    """What a plug-in has printed."""

    token: str = field(default="", repr=False)
    certificate: str = field(default="", repr=False)
    key: str = field(default="", repr=False)
    expires_at: datetime | None = None


def printed(output: str, plugin: ExecPlugin) -> Printed:
    """Return the credentials that a plug-in printed. Pure.

    Raises:
        ExecPluginError: It printed something else. Its text never quotes the output.
    """
    found = json_of(output)
    if text(found, "kind") != "ExecCredential":
        raise ExecPluginError(plugin.command, "did not print an ExecCredential in JSON")
    if text(found, "apiVersion") != plugin.api_version:
        raise ExecPluginError(plugin.command, f"did not print an ExecCredential of {plugin.api_version}")
    token = text(found, "status", "token").strip()
    certificate = text(found, "status", "clientCertificateData")
    key = text(found, "status", "clientKeyData")
    if bool(certificate) != bool(key):
        raise ExecPluginError(plugin.command, "printed a certificate or a key, and not both")
    if not token and not certificate:
        raise ExecPluginError(plugin.command, "printed neither a token nor a certificate")
    return Printed(token, certificate, key, _time(text(found, "status", "expirationTimestamp"), plugin))


def _time(timestamp: str, plugin: ExecPlugin) -> datetime | None:
    if not timestamp:
        return None
    try:
        found = datetime.fromisoformat(timestamp)
    except ValueError:
        raise ExecPluginError(plugin.command, "printed an expirationTimestamp that is no time") from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def words_of(stderr: str) -> str:
    """Return the last words of an error output in one line, without what looks like a credential. Pure."""
    shown = _SECRETS.sub("(hidden)", stderr)
    line = " ".join("".join(c if c.isprintable() else " " for c in shown).split())
    return line if len(line) <= _WORDS_LIMIT else f"... {line[-_WORDS_LIMIT:]}"


class ExecRun:
    """One run of a plug-in, which any number of threads may wait for."""

    def __init__(self, plugin: ExecPlugin, cluster: Mapping[str, Any] | None) -> None:
        """Start it.

        Args:
            plugin: The plug-in.
            cluster: What it is told of the cluster, if it wants to know.

        Raises:
            ExecPluginError: It cannot be started.
        """
        self._plugin = plugin
        self._deadline = Deadline(RUN_SECONDS)
        self._collecting = threading.Lock()
        self._result: Printed | ExecPluginError | None = None
        spec = {"interactive": False, **({} if cluster is None else {"cluster": cluster})}
        info = {"kind": "ExecCredential", "apiVersion": plugin.api_version, "spec": spec}
        env = {**os.environ, **dict(plugin.env), "KUBERNETES_EXEC_INFO": json.dumps(info)}
        command = shutil.which(plugin.command)
        if command is None:
            hint = words_of(plugin.install_hint)
            raise ExecPluginError(plugin.command, "was not found", hint)
        # Files, not pipes: a helper that the plug-in leaves behind may keep a pipe open for ever.
        self._out, self._err = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115 - closed in _collect
        try:
            self._process = subprocess.Popen(  # noqa: S603 - the user's kubeconfig names it
                [command, *plugin.args],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=self._out,
                stderr=self._err,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            self._out.close()
            self._err.close()
            raise ExecPluginError(plugin.command, f"could not be started ({type(error).__name__})") from None

    def wait(self, seconds: float) -> Printed:
        """Return what it printed.

        Args:
            seconds: The longest wait. The run goes on after it, for a later call, up to a minute in all.

        Raises:
            ExecPluginError: It failed, or did not end in time.
        """
        limit = min(seconds, self._deadline.remaining_seconds())
        try:
            self._process.wait(max(0.01, limit))
        except subprocess.TimeoutExpired:
            if self._deadline.is_over():
                self.kill()
            raise ExecPluginError(
                self._plugin.command, f"has not ended after {self._deadline.spent_seconds():.0f} s"
            ) from None
        with self._collecting:
            if self._result is None:
                self._result = self._collect()
        if isinstance(self._result, ExecPluginError):
            raise ExecPluginError(*self._result.args)
        return self._result

    @property
    def is_over(self) -> bool:
        """Whether it has ended, or has had its minute."""
        return self._process.poll() is not None or self._deadline.is_over()

    def kill(self) -> None:
        """End it, with all that it has started."""
        if self._process.poll() is None:
            with contextlib.suppress(OSError):
                if hasattr(os, "killpg"):
                    os.killpg(self._process.pid, signal.SIGKILL)
                else:
                    self._process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(1.0)
        with self._collecting:
            self._out.close()
            self._err.close()
            if self._result is None:
                self._result = ExecPluginError(self._plugin.command, "was ended")

    def _collect(self) -> "Printed | ExecPluginError":
        out, err = (self._read(file) for file in (self._out, self._err))
        try:
            if self._process.returncode:
                reason = f"failed with exit code {self._process.returncode}"
                return ExecPluginError(self._plugin.command, reason, words_of(err) or "it gave no reason")
            return printed(out, self._plugin)
        except ExecPluginError as error:
            return ExecPluginError(self._plugin.command, error.reason, words_of(err))

    @staticmethod
    def _read(file: Any) -> str:
        with file:
            file.seek(0)
            return file.read(_READ_BYTES).decode(errors="replace")


def cluster_info(
    server: str, *, tls_server_name: str, insecure: bool, ca: str, proxy_url: str, config: str
) -> dict[str, Any]:
    """Return what a plug-in with `provideClusterInfo` is told of its cluster. Pure."""
    import base64

    given = {
        "server": server,
        "tls-server-name": tls_server_name,
        "insecure-skip-tls-verify": insecure,
        "certificate-authority-data": base64.b64encode(ca.encode()).decode(),
        "proxy-url": proxy_url,
    }
    parsed = json_of(config)
    return {key: value for key, value in given.items() if value} | ({"config": parsed} if mapping(parsed) else {})
