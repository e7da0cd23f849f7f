"""Requests to a Ray job server: one session a thread, deadlines, retries of what passes, typed errors."""

import contextlib
import os
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import IO, TYPE_CHECKING, Any, TypedDict
from urllib.parse import urlsplit

from typing_extensions import Unpack, override

from dagster_ray.core import Deadline, SocketLimit, bound_pools, is_of_this_machine
from dagster_ray.core.errors import InvalidFieldError
from dagster_ray.pipes._job_answers import excerpt, passes
from dagster_ray.pipes.errors import JobServerRefusedError, JobServerUnavailableError

# Loads with the first request: a code location imports this package to read its definitions.
if TYPE_CHECKING:
    import requests
    from requests.adapters import HTTPAdapter

CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0
_LEAST_SECONDS = 1.0
ANSWER_LIMIT_BYTES = 256 * 2**20
_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer, whole."""

    status: int
    body: bytes
    headers: Mapping[str, str]


class RequestParts(TypedDict, total=False):
    """What a request may have beside method and URL.

    Keys:
        json: A body that is sent as JSON.
        params: The query.
        data: A body that is sent as it is.
        headers: More headers.
    """

    json: Any
    params: Mapping[str, str] | None
    data: IO[bytes]
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Connection:
    """How a job server is reached. Its repr shows no secret.

    Args:
        address: `http://host:port` of Ray's dashboard.
        headers: Headers of each request.
        cookies: Cookies of each request.
        token: Ray's token. None: none is sent.
        verify: Whether certificates are verified, or the path of the authorities that are trusted.
        use_proxies: Whether the proxies of the environment are used.
    """

    address: str
    headers: Mapping[str, str]
    cookies: Mapping[str, str]
    token: str | None
    verify: bool | str
    use_proxies: bool = True

    @override
    def __repr__(self) -> str:
        return f"Connection({self.address!r})"


def checked_address(address: str) -> str:
    """Return the address of a job server without a trailing slash.

    Raises:
        InvalidFieldError: It is not an http or https URL of a host.
    """
    parts = urlsplit(address)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        advice = "write the URL of Ray's dashboard, for example http://ray-head:8265"
        raise InvalidFieldError("address", f"is {address!r}, which is not an http URL", advice)
    if parts.query or parts.fragment or "@" in parts.netloc:
        advice = "remove it; credentials go into `headers` or `token`"
        raise InvalidFieldError("address", "has a user, a query or a fragment", advice)
    return address.rstrip("/")


def environ_proxies(url: str) -> dict[str, str]:
    """Return the proxies of the environment for a URL; none for this machine, which no proxy can mean."""
    from requests.utils import get_environ_proxies

    return {} if is_of_this_machine(url) else get_environ_proxies(url)


def proxy_in_words(url: str) -> str:
    """Return how an error tells which proxy of the environment a URL is asked through; empty if there is none."""
    from requests.utils import select_proxy

    proxy = select_proxy(url, environ_proxies(url))
    if not proxy:
        return ""
    parts = urlsplit(proxy if "://" in proxy else f"//{proxy}")  # without its user and password
    host = urlsplit(url).hostname
    return f"; asked through the proxy {parts.netloc.rpartition('@')[2]}, list {host} in NO_PROXY to ask it directly"


class JobServer:
    """Calls a job server. Safe to use from several threads; `close` ends all connections."""

    def __init__(self, connection: Connection) -> None:
        """Take how the server is reached; nothing is opened yet."""
        self.address = connection.address
        self._connection = connection
        self._local = threading.local()
        self._checks = threading.local()
        self._lock = threading.Lock()
        self._sessions: list[requests.Session] = []
        self.answers = 0
        """How many requests were answered so far, by whatever the server says of itself; for comparison only."""
        self.failures = 0
        """How many attempts have failed so far; for comparison only."""

    @override
    def __repr__(self) -> str:
        return f"JobServer({self.address!r})"

    def close(self) -> None:
        """Close the connections of all threads."""
        with self._lock:
            sessions, self._sessions = self._sessions, []
            self._local = threading.local()
        for session in sessions:
            session.close()

    @contextmanager
    def checked_by(self, check: Callable[[], None]) -> Generator[None]:
        """Call `check` after each failed attempt of this thread while the body runs.

        What it raises ends the call: no other attempt can succeed, for example because the cluster is gone.
        """
        self._checks.check = check
        try:
            yield
        finally:
            del self._checks.check

    def after_failure(self) -> None:
        """Make the check of this thread, if it has one; to be called after each failed attempt."""
        self.failures += 1
        check: Callable[[], None] | None = getattr(self._checks, "check", None)
        if check is not None:
            check()

    @property
    def through(self) -> str:
        """How an error tells that requests go through a proxy; empty if they do not."""
        return proxy_in_words(self.address) if self._connection.use_proxies else ""

    def end_thread(self) -> None:
        """Close the connections of this thread, which ends."""
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            return
        self._local.session = None
        with self._lock, contextlib.suppress(ValueError):  # `close` was faster
            self._sessions.remove(session)
        session.close()

    def call(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        json: Any = None,
        params: Mapping[str, str] | None = None,
        *,
        once: bool = False,
        field: str = "timeout",
    ) -> Answer:
        """Return the answer to a call, tried again as long as the server is away or answers what passes.

        Args:
            method: The HTTP method.
            path: Path below the server's address.
            deadline: When to give up.
            json: The body.
            params: The query.
            once: Return or raise what the first attempt gives, whatever it is; for calls that must not run twice.
            field: The field that an error names, since it set the deadline.

        Raises:
            JobServerUnavailableError: No answer before the deadline.
            JobServerRefusedError: 401 or 403.
        """
        import requests

        pause, last, answer = _FIRST_PAUSE_SECONDS, "nothing was tried", None
        while True:
            try:
                answer = self.attempt(
                    method, self.address + path, deadline.remaining_seconds(), json=json, params=params
                )
            except requests.RequestException as error:
                last, answer = f"{type(error).__name__}: {_cause(error)}", None
            else:
                is_last_word = not passes(path, answer.status, answer.body)
                self.answers += is_last_word
                if answer.status in {401, 403}:
                    said = excerpt(answer.body) + self.through
                    raise JobServerRefusedError(self.address, f"{method} {path}", answer.status, said)
                if once or is_last_word:
                    return answer
                last = f"{answer.status} {excerpt(answer.body)}"
                if deadline.is_over() and answer.status == 500:
                    return answer
            self.after_failure()
            if once or not deadline.sleep(pause):
                if answer is not None and answer.status == 404:
                    return answer
                spent = deadline.spent_seconds()
                last += self.through
                raise JobServerUnavailableError(self.address, f"{method} {path}", spent, last, field)
            pause = min(_LONGEST_PAUSE_SECONDS, pause * 2)

    def attempt(self, method: str, url: str, seconds: float, **parts: Unpack[RequestParts]) -> Answer:
        """Return the answer to one attempt, at any URL that may see the credentials.

        Args:
            method: The HTTP method.
            url: The whole URL.
            seconds: Longest time for the whole of it, if it is more than a second. Each read takes at most 30 s.
            parts: See `RequestParts`.

        Raises:
            requests.RequestException: There is none in time, it breaks off, or it is longer than 256 MiB.
        """
        import requests

        try:
            with SocketLimit(max(_LEAST_SECONDS, seconds)):
                return self._whole(method, url, min(READ_SECONDS, seconds), parts)
        except TimeoutError as error:
            raise requests.exceptions.ReadTimeout(str(error)) from error

    def _whole(self, method: str, url: str, seconds: float, parts: RequestParts) -> Answer:
        import requests

        with self._sent(method, url, seconds, parts) as response:
            body = bytearray()
            for chunk in response.iter_content(2**16):
                body += chunk
                if len(body) > ANSWER_LIMIT_BYTES:
                    raise requests.exceptions.ContentDecodingError(f"longer than {ANSWER_LIMIT_BYTES} bytes")
            if not body and has_no_length(response):
                raise requests.exceptions.ChunkedEncodingError("the answer broke off within its headers")
            return Answer(response.status_code, bytes(body), response.headers)

    def open(self, method: str, url: str, seconds: float, **parts: Unpack[RequestParts]) -> "requests.Response":
        """Return an answer whose body is not read yet; it must be closed.

        Args:
            method: The HTTP method.
            url: The whole URL.
            seconds: Longest wait for the whole head of the answer, and then for each part of its body.
            parts: See `RequestParts`.

        Raises:
            requests.RequestException: There is none in time.
        """
        import requests

        try:
            with SocketLimit(seconds):
                return self._sent(method, url, seconds, parts)
        except TimeoutError as error:
            raise requests.exceptions.ReadTimeout(str(error)) from error

    def _sent(self, method: str, url: str, seconds: float, parts: RequestParts) -> "requests.Response":
        read = max(0.1, seconds)
        proxies = environ_proxies(url) if self._connection.use_proxies else {}
        return self._session().request(
            method,
            url,
            **parts,
            proxies=proxies,
            timeout=(min(CONNECT_SECONDS, read), read),
            allow_redirects=False,  # a redirect would carry the token to another host
            stream=True,
        )

    def _session(self) -> "requests.Session":
        found: requests.Session | None = getattr(self._local, "session", None)
        if found is None:
            found = self._new_session()
            with self._lock:
                self._sessions.append(found)
            self._local.session = found
        return found

    def _new_session(self) -> "requests.Session":
        import requests

        connection, session = self._connection, requests.Session()
        session.mount("http://", _bounded_adapter())
        session.mount("https://", _bounded_adapter())
        session.trust_env = False  # a .netrc of the machine would replace the Authorization header
        session.verify = _verify(connection.verify, os.environ)
        session.headers["User-Agent"] = f"dagster-ray-pipes/{version('dagster-ray-pipes')}"
        session.headers["Accept-Encoding"] = "identity"
        session.headers.update(connection.headers)
        session.cookies.update(connection.cookies)
        if connection.token is not None:
            own = any(name.lower() == "authorization" for name in connection.headers)
            # A proxy in front may need Authorization for itself; Ray looks at its own header too.
            session.headers["X-Ray-Authorization" if own else "Authorization"] = f"Bearer {connection.token}"
        return session


def _bounded_adapter() -> "HTTPAdapter":
    """Return what sends the requests of a session, also those through proxies, by sockets that keep limits."""
    from requests.adapters import HTTPAdapter

    class BoundedAdapter(HTTPAdapter):
        @override
        def init_poolmanager(self, *args: Any, **options: Any) -> None:
            super().init_poolmanager(*args, **options)
            bound_pools(self.poolmanager)

        @override
        def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
            is_new, found = proxy not in self.proxy_manager, super().proxy_manager_for(proxy, **options)
            return bound_pools(found) if is_new and not proxy.lower().startswith("socks") else found

    return BoundedAdapter()


def has_no_length(response: "requests.Response") -> bool:
    """Return whether an answer does not say how long it is.

    If nothing follows either, it has broken off within its headers: http.client takes the break for their end.
    """
    length, coding = (response.headers.get(name, "") for name in ("Content-Length", "Transfer-Encoding"))
    return response.status_code in {200, 206} and not length.strip().isdigit() and "chunked" not in coding.lower()


def _verify(verify: bool | str, environ: Mapping[str, str]) -> bool | str:
    if verify is not True:
        return verify
    return environ.get("REQUESTS_CA_BUNDLE") or environ.get("CURL_CA_BUNDLE") or True


def _cause(error: BaseException) -> str:
    """Return the innermost reason; requests wraps it several times, with addresses of objects in it."""
    seen: Any = error
    for _ in range(5):
        inner = getattr(seen, "reason", None) or (seen.args[0] if getattr(seen, "args", None) else None)
        if not isinstance(inner, BaseException):
            break
        seen = inner
    return str(seen).rpartition(">: ")[2] or type(seen).__name__
