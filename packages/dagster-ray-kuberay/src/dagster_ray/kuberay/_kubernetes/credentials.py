"""The credentials of one account, as they are now: files are read again, and exec plug-ins run again."""

import base64
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dagster_ray.core import Deadline
from dagster_ray.kuberay._kubernetes.errors import CredentialsError, ExecPluginError, KubeconfigError
from dagster_ray.kuberay._kubernetes.exec_plugin import ExecRun, Printed, cluster_info
from dagster_ray.kuberay._kubernetes.kubeconfig import ExecPlugin, Settings

_EARLY = timedelta(seconds=30)
_ATTEMPTS = 3
_PAUSE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Credential:
    """What one request proves its account with."""

    authorization: str = field(default="", repr=False)
    """The header of this name; empty without one."""
    certificate: str = field(default="", repr=False)
    """A client certificate in PEM; empty without one."""
    key: str = field(default="", repr=False)


def bearer(token: str, whose: str) -> str:
    """Return the header for a token. Pure.

    Raises:
        CredentialsError: The token has characters that no header can hold. The token is not quoted.
    """
    token = token.strip()
    if not token.isascii() or not token.isprintable() or " " in token:
        reason = "the token has blanks, control characters or characters outside ASCII"
        raise CredentialsError(whose, reason, "write the token as one line, as it was issued")
    return f"Bearer {token}"


def expires_soon(printed: Printed, got_at: datetime, now: datetime) -> bool:
    """Return whether what a plug-in printed must be replaced now. Pure.

    30 seconds before it expires, or, if it lives for less than two minutes, in the last quarter of its life.
    """
    if printed.expires_at is None:
        return False
    early = min(_EARLY, max(timedelta(0), printed.expires_at - got_at) / 4)
    return now >= printed.expires_at - early


class Credentials:
    """The credentials of one account.

    Whatever can change is looked at again: a token file at each request, a plug-in before its credentials expire, and
    all of it, with the kubeconfig itself, after the API server has answered 401.
    """

    def __init__(
        self, settings: Settings, load: Callable[[], Settings], now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        """Take settings, and what loads them again. Nothing is run or read yet."""
        self._settings, self._load, self._now = settings, load, now
        self._lock = threading.Lock()
        self._last_token = settings.user.token
        self._printed: Printed | None = None
        self._got_at = now()
        self._run: ExecRun | None = None
        self.have_worked = False
        """Whether they could be obtained before, so that a failure may pass."""

    def current(self, deadline: Deadline) -> Credential:
        """Return the credentials for a request.

        Raises:
            CredentialsError, ExecPluginError: There are none.
        """
        found = self._current(deadline)
        self.have_worked = True
        return found

    def renewed(self, refused: Credential, deadline: Deadline) -> Credential | None:
        """Load everything again after a 401; return None if that brings nothing new.

        Args:
            refused: What the API server has refused. Another thread may have replaced it since.
            deadline: Ends the wait for a plug-in.
        """
        with self._lock:
            self._settings = self._loaded()
            known = self._printed
        if known is not None and (_bearer_of(known), known.certificate) == (refused.authorization, refused.certificate):
            with self._lock:
                if self._printed is known:
                    self._printed = None
        found = self.current(deadline)
        return None if found == refused else found

    def token(self, deadline: Deadline) -> str:
        """Return the token that proves the account, for a Ray that lets Kubernetes judge its drivers.

        Raises:
            CredentialsError: The account proves itself by something else, or acts as another one, which Ray cannot.
            ExecPluginError: The plug-in has failed.
        """
        settings = self._settings
        scheme, _, token = self.current(deadline).authorization.partition(" ")
        if scheme == "Bearer" and not settings.user.impersonate:
            return token
        reason = "`as` is set, and Ray judges the token alone" if settings.user.impersonate else "they hold no token"
        advice = "let the step use an account with a token, for example its pod's; the cluster has enableK8sTokenAuth"
        raise CredentialsError(_whose(settings), reason, advice)

    def close(self) -> None:
        """End a plug-in that still runs."""
        with self._lock:
            run, self._run = self._run, None
        if run is not None:
            run.kill()

    def _loaded(self) -> Settings:
        """Return the settings as the kubeconfig is now, unless it now means another cluster, or cannot be read."""
        try:
            found = self._load()
        except KubeconfigError:
            return self._settings
        return found if found.server == self._settings.server else self._settings

    def _current(self, deadline: Deadline) -> Credential:
        settings = self._settings
        user, whose = settings.user, _whose(settings)
        certificate = user.certificate or (_read(user.certificate_file, whose) if user.certificate_file else "")
        key = user.key or (_read(user.key_file, whose) if user.key_file else "")
        plain = Credential(certificate=certificate, key=key)
        if user.token_file:
            return replace(plain, authorization=bearer(self._token_of_file(user.token_file, whose), whose))
        if user.token:
            return replace(plain, authorization=bearer(user.token, whose))
        if user.username or user.password:
            login = base64.b64encode(f"{user.username}:{user.password}".encode()).decode()
            return replace(plain, authorization=f"Basic {login}")
        if user.exec_plugin is None:
            return plain
        got = self._printed_now(user.exec_plugin, deadline)
        authorization = bearer(got.token, f"the exec plug-in `{user.exec_plugin.command}`") if got.token else ""
        return Credential(authorization, got.certificate or certificate, got.key or key)

    def _token_of_file(self, path: str, whose: str) -> str:
        """Return the token of a file; while the file is being replaced, the one before."""
        try:
            token = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            token = ""
            reason = f"the token file {path} cannot be read ({type(error).__name__})"
        else:
            reason = f"the token file {path} is empty"
        if token:
            self._last_token = token
        elif not self._last_token:
            raise CredentialsError(whose, reason, "write a token into that file, and let the step's user read it")
        return self._last_token

    def _printed_now(self, plugin: ExecPlugin, deadline: Deadline) -> Printed:
        known = self._printed
        if known is not None and not expires_soon(known, self._got_at, self._now()):
            return known
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self._run_plugin(plugin, deadline)
            except ExecPluginError as error:
                if known is not None and known.expires_at is not None and self._now() < known.expires_at:
                    return known
                if attempt == _ATTEMPTS or not error.may_pass or not deadline.sleep(_PAUSE_SECONDS * attempt):
                    raise
        raise AssertionError

    def _run_plugin(self, plugin: ExecPlugin, deadline: Deadline) -> Printed:
        """Wait for the run that is under way, or start one: many threads need one answer."""
        with self._lock:
            run = self._run
            if run is None:
                run = self._run = ExecRun(plugin, self._cluster(plugin))
        try:
            found = run.wait(deadline.remaining_seconds())
        except ExecPluginError:
            with self._lock:
                if self._run is run and run.is_over:
                    self._run = None
            raise
        with self._lock:
            if self._run is run:
                self._run, self._printed, self._got_at = None, found, self._now()
        return found

    def _cluster(self, plugin: ExecPlugin) -> dict[str, object] | None:
        if not plugin.wants_cluster:
            return None
        settings = self._settings
        return cluster_info(
            settings.server,
            tls_server_name=settings.tls_server_name,
            insecure=settings.insecure,
            ca=settings.ca or (_read(settings.ca_file, _whose(settings)) if settings.ca_file else ""),
            proxy_url=settings.proxy_url,
            config=plugin.cluster_config,
        )


def _whose(settings: Settings) -> str:
    return f"user {settings.user_name} of {settings.source}" if settings.user_name else settings.source


def _bearer_of(printed: Printed) -> str:
    return f"Bearer {printed.token}" if printed.token else ""


def _read(path: str, whose: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = f"the file {path} cannot be read ({type(error).__name__})"
        raise CredentialsError(
            whose, reason, "correct the path in the kubeconfig, or let the step's user read the file"
        ) from None
