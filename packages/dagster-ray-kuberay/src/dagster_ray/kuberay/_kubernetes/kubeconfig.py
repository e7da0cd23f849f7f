"""How an API server is reached and as whom: the settings that kubectl would take from the same kubeconfigs. Pure.

Checked against kubectl 1.32 by `test_kubeconfig_kubectl.py`.
"""

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import quote, urlsplit

import yaml

from dagster_ray.kuberay._kubernetes.errors import KubeconfigError
from dagster_ray.kuberay._kubernetes.proxies import is_loopback


@dataclass(frozen=True, slots=True)
class ExecPlugin:
    """A program that prints credentials (client.authentication.k8s.io)."""

    command: str
    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    api_version: str = "client.authentication.k8s.io/v1"
    install_hint: str = ""
    wants_cluster: bool = False
    """Whether it is told the cluster (`provideClusterInfo`)."""
    cluster_config: str = "null"
    """JSON that the cluster's extension holds for it."""


@dataclass(frozen=True, slots=True)
class User:
    """Credentials, as the kubeconfig has them. Texts win over files except for tokens, where the file wins."""

    token: str = field(default="", repr=False)
    token_file: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    certificate: str = field(default="", repr=False)
    """A client certificate in PEM."""
    certificate_file: str = ""
    key: str = field(default="", repr=False)
    key_file: str = ""
    exec_plugin: ExecPlugin | None = None
    impersonate: tuple[tuple[str, str], ...] = ()
    """Headers that name the account to act as."""


@dataclass(frozen=True, slots=True)
class Settings:
    """One API server and one account."""

    source: str
    """Where it was found, for errors: "the kubeconfig PATH"."""
    server: str
    namespace: str = "default"
    context: str = ""
    user_name: str = ""
    user: User = field(default_factory=User)
    ca: str = field(default="", repr=False)
    """Certificates of authorities in PEM; none and no file: those of the system."""
    ca_file: str = ""
    insecure: bool = False
    tls_server_name: str = ""
    proxy_url: str = field(default="", repr=False)


_EXEC_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
_EXEC_EXTENSION = "client.authentication.k8s.io/exec"
_PEM_MARK = "-----BEGIN"
_CHOOSE = "set `kube_context` on the resource to a context of this kubeconfig"


class _BadFieldError(Exception):
    """A field does not have what it must: text that names the field and never quotes its value, and maybe advice."""


@dataclass(frozen=True, slots=True)
class KubeconfigText:
    """One file."""

    path: str
    text: str
    beside: Callable[[str], str]
    """Makes a relative path, which starts where the file is, absolute."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """A named cluster, user or context, in the file that has it."""

    where: str
    content: Mapping[str, Any]
    beside: Callable[[str], str]

    def text(self, key: str) -> str:
        value = self.content.get(key)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise _BadFieldError(f"{self.where}.{key} must be a string; quote it")
        return value

    def flag(self, key: str) -> bool:
        value = self.content.get(key)
        if value is None or isinstance(value, bool):
            return bool(value)
        raise _BadFieldError(f"{self.where}.{key} must be true or false")

    def file(self, key: str) -> str:
        path = self.text(key)
        return self.beside(path) if path else ""

    def data(self, key: str) -> str:
        """Return base64 data as text."""
        try:
            return base64.b64decode("".join(self.text(key).split()), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise _BadFieldError(f"{self.where}.{key} is not base64 of PEM text") from None

    def below(self, key: str) -> "_Entry | None":
        value = self.content.get(key)
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise _BadFieldError(f"{self.where}.{key} must be a mapping")
        return _Entry(f"{self.where}.{key}", cast("Mapping[str, Any]", value), self.beside)

    def texts(self, key: str) -> tuple[str, ...]:
        value = self.content.get(key)
        items = cast("list[object]", value) if isinstance(value, list) else [] if value is None else [None]
        if not all(isinstance(item, str) for item in items):
            raise _BadFieldError(f"{self.where}.{key} must be a list of strings; quote them")
        return tuple(cast("list[str]", items))

    def rows(self, key: str) -> list["_Entry"]:
        value = self.content.get(key)
        items = cast("list[object]", value) if isinstance(value, list) else [] if value is None else [None]
        if not all(isinstance(item, Mapping) for item in items):
            raise _BadFieldError(f"{self.where}.{key} must be a list of mappings")
        rows = cast("list[Mapping[str, Any]]", items)
        return [_Entry(f"{self.where}.{key}[{n}]", row, self.beside) for n, row in enumerate(rows)]


def settings_of(files: Sequence[KubeconfigText], context: str | None, source: str) -> Settings:
    """Return the settings of a context of some files; of two files the first one to name something decides.

    Args:
        files: The files in the order of KUBECONFIG.
        context: The context; None for the current one.
        source: What the files are called in errors.

    Raises:
        KubeconfigError: They cannot be used. Its text names the field and never quotes values.
    """
    try:
        return _settings([_read(file) for file in files], context, source)
    except _BadFieldError as error:
        raise KubeconfigError(source, *error.args) from None


def _settings(files: list[_Entry], context: str | None, source: str) -> Settings:
    name = context or next((found for file in files if (found := file.text("current-context"))), "")
    if not name:
        raise _BadFieldError("no context is chosen: current-context is not set", _CHOOSE)
    chosen = _named(files, "contexts", "context", name)
    if chosen is None:
        raise _BadFieldError(f"there is no context {name!r}", _CHOOSE)
    cluster_name, user_name = chosen.text("cluster"), chosen.text("user")
    cluster = _named(files, "clusters", "cluster", cluster_name)
    if cluster is None or not cluster.text("server"):
        raise _BadFieldError(f"context {name!r} needs the cluster {cluster_name!r}, which has no server here")
    user = _named(files, "users", "user", user_name) if user_name else _Entry("no user", {}, cluster.beside)
    if user is None:
        raise _BadFieldError(f"context {name!r} needs the user {user_name!r}, which is not there")
    ca, ca_file = _data_or_file(cluster, "certificate-authority")
    insecure = cluster.flag("insecure-skip-tls-verify")
    if insecure and (ca or ca_file):
        raise _BadFieldError(f"{cluster.where} has a certificate-authority and insecure-skip-tls-verify; remove one")
    server, account = _server(cluster), _user(user, cluster)
    return Settings(
        source=source,
        server=server,
        namespace=chosen.text("namespace") or "default",
        context=name,
        user_name=user_name,
        user=account if _is_private(server) else User(impersonate=account.impersonate),
        ca=ca,
        ca_file=ca_file,
        insecure=insecure,
        tls_server_name=cluster.text("tls-server-name"),
        proxy_url=cluster.text("proxy-url"),
    )


# Every step reads the file, and libyaml's parser is ten times as fast.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _read(file: KubeconfigText) -> _Entry:
    try:
        content = cast("object", yaml.load(file.text, _Loader))  # noqa: S506 - a safe one in both cases
    except (yaml.YAMLError, ValueError, RecursionError):
        raise _BadFieldError(f"{file.path} is not valid YAML") from None
    if content is None:
        content = {}
    if not isinstance(content, Mapping):
        raise _BadFieldError(f"{file.path} does not hold a mapping")
    entry = _Entry(file.path, cast("Mapping[str, Any]", content), file.beside)
    if entry.text("kind") not in {"", "Config"} or entry.text("apiVersion") not in {"", "v1"}:
        raise _BadFieldError(f"{file.path} is not a kubeconfig: kind must be Config, and apiVersion v1")
    for group in ("clusters", "users", "contexts"):
        names = [row.text("name") for row in entry.rows(group)]
        if len(set(names)) < len(names):
            raise _BadFieldError(f"{file.path}: {group} has the same name twice")
    return entry


def _named(files: list[_Entry], group: str, key: str, name: str) -> _Entry | None:
    """Return an entry of the first file that has it, whole."""
    for file in files:
        for row in file.rows(group):
            if row.text("name") == name:
                found = row.below(key) or _Entry(row.where, {}, row.beside)
                return _Entry(f"{group}[{name}]", found.content, found.beside)
    return None


def _server(cluster: _Entry) -> str:
    """Return the server's URL; one without a scheme is taken for http."""
    server = cluster.text("server").strip()
    server = server if "://" in server else f"http://{server}"
    try:
        parts = urlsplit(server)
        is_url = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_url = False
    if not is_url:
        raise _BadFieldError(f"{cluster.where}.server is not a URL of http or https")
    return server.rstrip("/")


def _is_private(server: str) -> bool:
    """Return whether credentials may be sent to a server: never in plain text, but to this machine."""
    parts = urlsplit(server)
    return parts.scheme == "https" or is_loopback(parts.hostname or "")


def _data_or_file(entry: _Entry, key: str) -> tuple[str, str]:
    data, file = entry.data(f"{key}-data"), entry.file(key)
    if data and file:
        raise _BadFieldError(f"{entry.where} has both {key} and {key}-data; remove one")
    if data and _PEM_MARK not in data:
        raise _BadFieldError(f"{entry.where}.{key}-data is not base64 of PEM text")
    return data, file


def _user(entry: _Entry, cluster: _Entry) -> User:
    if entry.content.get("auth-provider") is not None:
        raise _BadFieldError(f"{entry.where}.auth-provider is no longer supported, by kubectl neither; use exec")
    certificate, certificate_file = _data_or_file(entry, "client-certificate")
    key, key_file = _data_or_file(entry, "client-key")
    if (certificate or certificate_file) and not (key or key_file):
        raise _BadFieldError(f"{entry.where} has a client-certificate and no client-key")
    user = User(
        token=entry.text("token").strip(),
        token_file=entry.file("tokenFile"),
        username=entry.text("username"),
        password=entry.text("password"),
        certificate=certificate,
        certificate_file=certificate_file,
        key=key,
        key_file=key_file,
        exec_plugin=_exec_plugin(entry, cluster),
        impersonate=_impersonation(entry),
    )
    if user.token and (user.username or user.password):
        raise _BadFieldError(f"{entry.where} has a token and a username; only one of them is allowed")
    return user


def _impersonation(entry: _Entry) -> tuple[tuple[str, str], ...]:
    extra, headers = entry.below("as-user-extra"), list[tuple[str, str]]()
    if name := entry.text("as"):
        headers.append(("Impersonate-User", name))
    if uid := entry.text("as-uid"):
        headers.append(("Impersonate-Uid", uid))
    headers += [("Impersonate-Group", group) for group in entry.texts("as-groups")]
    for key in extra.content if extra is not None else ():
        values = extra.texts(key) if extra is not None else ()
        headers += [(f"Impersonate-Extra-{quote(str(key).lower(), safe='')}", value) for value in values]
    if not all(value.isprintable() for _, value in headers):
        raise _BadFieldError(f"{entry.where}: `as` and what belongs to it must not hold control characters")
    if headers and not name:
        raise _BadFieldError(f"{entry.where} has as-uid, as-groups or as-user-extra without `as`")
    return tuple(headers)


def _exec_plugin(user: _Entry, cluster: _Entry) -> ExecPlugin | None:
    entry = user.below("exec")
    if entry is None:
        return None
    command, version, mode = entry.text("command"), entry.text("apiVersion"), entry.text("interactiveMode")
    if not command:
        raise _BadFieldError(f"{entry.where}.command is missing")
    if version not in _EXEC_VERSIONS:
        raise _BadFieldError(f"{entry.where}.apiVersion must be {' or '.join(_EXEC_VERSIONS)}")
    if mode not in {"Never", "IfAvailable", "Always"} and (mode or version == _EXEC_VERSIONS[0]):
        raise _BadFieldError(f"{entry.where}.interactiveMode must be Never, IfAvailable or Always")
    if mode == "Always":
        raise _BadFieldError(f"{entry.where}.interactiveMode is Always, and a step has no terminal")
    variables = entry.rows("env")
    if not all(row.text("name") for row in variables):
        raise _BadFieldError(f"{entry.where}.env has a variable without a name")
    return ExecPlugin(
        command=entry.file("command") if "/" in command or "\\" in command else command,
        args=entry.texts("args"),
        env=tuple((row.text("name"), row.text("value")) for row in variables),
        api_version=version,
        install_hint=entry.text("installHint"),
        wants_cluster=entry.flag("provideClusterInfo"),
        cluster_config=_cluster_config(cluster),
    )


def _cluster_config(cluster: _Entry) -> str:
    for row in cluster.rows("extensions"):
        if row.text("name") == _EXEC_EXTENSION:
            return json.dumps(row.content.get("extension"), default=str)
    return "null"
