"""Which proxy stands between this process and an API server: the kubeconfig's, else that of the environment. Pure.

The rules are those of Go's `http.ProxyFromEnvironment`, which kubectl follows.
"""

import base64
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from dagster_ray.kuberay._kubernetes.errors import KubeconfigError

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy."""

    host: str
    port: int
    authorization: str = field(default="", repr=False)
    """The header Proxy-Authorization; empty without credentials."""

    @property
    def address(self) -> str:
        """Host and port, as a URL has them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def proxy_for(server: str, proxy_url: str, environment: Mapping[str, str], source: str) -> Proxy | None:
    """Return the proxy for a server; None if it is reached straight.

    Args:
        server: The URL of the API server.
        proxy_url: `proxy-url` of the kubeconfig, which wins over all of the environment, NO_PROXY included.
        environment: The environment.
        source: What the kubeconfig is called in errors.

    Raises:
        KubeconfigError: The proxy is of a kind that is not supported. Its text never quotes the URL.
    """
    if proxy_url:
        return _proxy(proxy_url, "proxy-url", source)
    parts = urlsplit(server)
    name = "HTTPS_PROXY" if parts.scheme == "https" else "HTTP_PROXY"
    url = _variable(environment, name)
    port = parts.port or _PORTS[parts.scheme]
    if not url or _is_excepted(parts.hostname or "", port, _variable(environment, "NO_PROXY")):
        return None
    return _proxy(url if "://" in url else f"http://{url}", name, source)


def _variable(environment: Mapping[str, str], name: str) -> str:
    return (environment.get(name) or environment.get(name.lower()) or "").strip()


def _proxy(url: str, what: str, source: str) -> Proxy:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise KubeconfigError(source, f"{what} is not a URL", f"write {what} as http://host:port") from None
    if parts.scheme != "http":
        kind = f"{parts.scheme}://" if parts.scheme in {"https", "socks5", "socks5h"} else "this kind"
        reason = f"{what} names a proxy of {kind}, and only http:// proxies are supported"
        raise KubeconfigError(source, reason, f"name an http:// proxy in {what}")
    if host is None:
        raise KubeconfigError(source, f"{what} names no host", f"write {what} as http://host:port")
    authorization = ""
    if parts.username is not None:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = f"Basic {base64.b64encode(login.encode()).decode()}"
    return Proxy(host, port or 80, authorization)


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine itself."""
    address = _address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def _is_excepted(host: str, port: int, no_proxy: str) -> bool:
    address = _address(host)
    if is_loopback(host):
        return True
    for item in (part.strip().lower() for part in no_proxy.split(",")):
        if item == "*":
            return True
        if item and _matches(item, host.lower(), address, port):
            return True
    return False


def _matches(item: str, host: str, address: "ipaddress.IPv4Address | ipaddress.IPv6Address | None", port: int) -> bool:
    """Return whether one item of NO_PROXY means a host."""
    if "/" in item:
        try:
            return address is not None and address in ipaddress.ip_network(item, strict=False)
        except ValueError:
            return False
    bare, _, wanted = item.rpartition(":")
    if bare and wanted.isdecimal() and (bare.endswith("]") or ":" not in bare):
        if int(wanted) != port:
            return False
        item = bare
    item = item.strip("[]")
    named = _address(item)
    if named is not None:
        return named == address
    item = item.removeprefix("*")
    return host.endswith(item) if item.startswith(".") else host == item or host.endswith(f".{item}")


def _address(text: str) -> "ipaddress.IPv4Address | ipaddress.IPv6Address | None":
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
