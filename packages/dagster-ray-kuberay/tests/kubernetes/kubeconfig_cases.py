"""Kubeconfigs and what an API server sees of who uses them. kubectl and dagster-ray must agree on each.

`test_kubeconfig.py` runs all of them through dagster-ray, `test_kubeconfig_kubectl.py` through kubectl.
"""

import base64
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from kubeconfig_world import NAME, WORKSPACE, Seen, World, config, exec_user, plug_in

T1 = Seen("Bearer t1")
LOGIN = "Basic " + base64.b64encode(b"us er:p@ss").decode()


@dataclass(slots=True)
class Setup:
    """Where a kubeconfig is written, and what leads to it."""

    world: World
    folder: Path
    environment: dict[str, str] = field(default_factory=dict[str, str])
    context: str | None = None

    def write(self, content: object, name: str = "config") -> str:
        """Write a file, make it the last of KUBECONFIG, and return its path."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
        known = self.environment.get("KUBECONFIG")
        self.environment["KUBECONFIG"] = f"{known}{os.pathsep}{path}" if known else str(path)
        return str(path)

    def put(self, name: str, text: str) -> str:
        """Write a file beside the kubeconfig; return its path."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text, encoding="utf-8")
        return str(path)

    def cert(self, name: str) -> str:
        """Return the path of a certificate or key."""
        return self.world.certificates.path(name)

    def data(self, name: str) -> str:
        """Return a certificate or key in base64."""
        return base64.b64encode(self.world.certificates.text(name).encode()).decode()

    def secure(self, **more: Any) -> dict[str, Any]:
        """Return a cluster with TLS."""
        return {"server": self.world.https_url, "certificate-authority": self.cert("ca.crt"), **more}

    def behind(self, **more: Any) -> dict[str, Any]:
        """Return a cluster with TLS that only a proxy leads to."""
        return self.secure(server=f"https://{NAME}:6443", **more)


Prepare = Callable[[Setup], object]


@dataclass(frozen=True, slots=True)
class Case:
    """One kubeconfig.

    Attributes:
        prepare: Writes it.
        sees: What the API server sees; a part of the error if it is refused.
        kubectl_sees: What it sees of kubectl where that differs; None where it does not.
    """

    prepare: Prepare
    sees: Seen | str
    kubectl_sees: Seen | str | None = None


def _user(**user: Any) -> Prepare:
    return lambda s: s.write(config(s.secure(), user))


def _cluster(**cluster: Any) -> Prepare:
    return lambda s: s.write(config(s.secure(**cluster), {"token": "t1"}))


def _plug(status: dict[str, Any], **more: Any) -> Prepare:
    how = {key: more.pop(key) for key in ("version", "says", "code") if key in more}
    return lambda s: s.write(config(s.secure(), exec_user(plug_in(s.folder, status, **how), **more)))


def _certificate(s: Setup, name: str = "alice") -> dict[str, Any]:
    return {"client-certificate-data": s.data(f"{name}.crt"), "client-key-data": s.data(f"{name}.key")}


def _two_files(s: Setup) -> None:
    s.write(config(s.secure(), {"token": "t1"}), "one/config")
    s.write(config({"server": "http://127.0.0.1:1"}, {"token": "t2"}, **{"current-context": "d"}), "two/config")


def _cluster_and_user_apart(s: Setup) -> None:
    """The context in a third file; each file with a relative path."""
    s.put("clusters/ca.crt", s.world.certificates.text("ca.crt"))
    s.put("users/token", "t1")
    s.write({"contexts": config({})["contexts"], "current-context": "c"}, "config")
    cluster = {"server": s.world.https_url, "certificate-authority": "ca.crt"}
    s.write({"clusters": [{"name": "k", "cluster": cluster}]}, "clusters/config")
    s.write({"users": [{"name": "u", "user": {"tokenFile": "token"}}]}, "users/config")


def _users_are_not_merged(s: Setup) -> None:
    s.write({"users": [{"name": "u", "user": {"as": "ann"}}]}, "one/config")
    s.write(config(s.secure(), {"token": "t2", "as-groups": ["g"]}), "two/config")


def _missing_and_empty_files(s: Setup) -> None:
    s.environment["KUBECONFIG"] = str(s.folder / "nowhere")
    s.write("", "empty")
    s.write(config(s.secure(), {"token": "t1"}))


def _relative_files(s: Setup) -> None:
    s.put("secrets/token", "t1\n")
    s.write(config(s.secure(), {"tokenFile": "secrets/token"}))


def _relative_plug_in(s: Setup) -> None:
    plug_in(s.folder, {"token": "t1"})
    s.write(config(s.secure(), exec_user("./plug-in")))


def _plug_in_of_path(s: Setup) -> None:
    plug_in(s.folder, {"token": "t1"})
    s.environment["PATH"] = f"{s.folder}{os.pathsep}{os.environ['PATH']}"
    s.write(config(s.secure(), exec_user("plug-in")))


def _plug_in_with_environment(s: Setup) -> None:
    script = (
        "#!/bin/sh\n"
        'printf \'{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential",'
        '"status":{"token":"%s-%s-%s"}}\' "$WHO" "$1" "$FROM_OUTSIDE"\n'
    )
    path = Path(s.put("plug-in", script))
    path.chmod(0o755)
    s.environment["FROM_OUTSIDE"] = "out"
    s.write(config(s.secure(), exec_user(str(path), args=["arg"], env=[{"name": "WHO", "value": "me"}])))


def _plug_in_certificate(s: Setup) -> None:
    status = {
        "clientCertificateData": s.world.certificates.text("alice.crt"),
        "clientKeyData": s.world.certificates.text("alice.key"),
    }
    s.write(config(s.secure(), exec_user(plug_in(s.folder, status))))


def _other_context(s: Setup) -> None:
    s.context = "other"
    contexts = [{"name": "other", "context": {"cluster": "k", "user": "u"}}]
    s.write(config(s.secure(), {"token": "t1"}, contexts=contexts, **{"current-context": "nowhere"}))


def _missing_context(s: Setup) -> None:
    s.context = "nowhere"
    s.write(config(s.secure(), {"token": "t1"}))


def _behind(login: str = "", **environment: str) -> Prepare:
    def prepare(s: Setup) -> None:
        s.world.proxy_login = LOGIN if login else None
        url = f"http://{login}{s.world.proxy}"
        s.environment |= environment
        s.write(config(s.behind(**{"proxy-url": url}), {"token": "t1"}))

    return prepare


def _behind_environment(**variables: str) -> Prepare:
    def prepare(s: Setup) -> None:
        s.environment |= {key: value.format(proxy=s.world.proxy) for key, value in variables.items()}
        s.write(config(s.behind(), {"token": "t1"}))

    return prepare


def _plain_behind(**variables: str) -> Prepare:
    def prepare(s: Setup) -> None:
        s.environment |= {key: value.format(proxy=s.world.proxy) for key, value in variables.items()}
        s.write(config({"server": f"http://{NAME}"}, {"token": "t1"}))

    return prepare


TOKENS: dict[str, Case] = {
    "a token": Case(_user(token="t1"), T1),
    "a token that ends in a newline": Case(_user(token="t1\n"), T1, "invalid header"),
    "a token with a newline inside": Case(_user(token="t1\nt2"), "characters", "invalid header"),
    "a token file": Case(lambda s: s.write(config(s.secure(), {"tokenFile": s.put("token", "t1")})), T1),
    "a token file that ends in a newline": Case(
        lambda s: s.write(config(s.secure(), {"tokenFile": s.put("token", "t1\n")})), T1
    ),
    "a token file beside the kubeconfig": Case(_relative_files, T1),
    "a token file wins over a token": Case(
        lambda s: s.write(config(s.secure(), {"token": "t0", "tokenFile": s.put("token", "t1")})), T1
    ),
    "a token where the token file is missing": Case(_user(token="t1", tokenFile="nowhere"), T1),
    "a token file that is missing": Case(_user(tokenFile="nowhere"), "cannot be read", "no such file"),
    "a user and a password": Case(_user(username="us er", password="p@ss"), Seen(LOGIN)),
    "a password of other letters": Case(
        _user(username="u", password="pä"), Seen("Basic " + base64.b64encode("u:pä".encode()).decode())
    ),
    "a token and a password": Case(_user(token="t1", username="u", password="p"), "only one", "more than one"),
    "nobody": Case(_user(), Seen(), "refused"),
    "no user": Case(
        lambda s: s.write(config(s.secure(), contexts=[{"name": "c", "context": {"cluster": "k"}}])), Seen(), "refused"
    ),
    "a token that is a number": Case(_user(token=12345), "must be a string", "cannot unmarshal"),
    "an auth-provider": Case(_user(**{"auth-provider": {"name": "gcp"}}), "auth-provider", "gcp"),
}

ACCOUNTS: dict[str, Case] = {
    "as somebody": Case(_user(token="t1", **{"as": "ann"}), Seen("Bearer t1", ("impersonate-user: ann",))),
    "as somebody of groups": Case(
        _user(token="t1", **{"as": "ann", "as-groups": ["g1", "g2"]}),
        Seen("Bearer t1", ("impersonate-group: g1", "impersonate-group: g2", "impersonate-user: ann")),
    ),
    "as somebody with all there is": Case(
        _user(
            token="t1", **{"as": "ann", "as-uid": "7", "as-groups": ["g"], "as-user-extra": {"Team/One": ["a", "b"]}}
        ),
        Seen(
            "Bearer t1",
            (
                "impersonate-extra-team%2fone: a",
                "impersonate-extra-team%2fone: b",
                "impersonate-group: g",
                "impersonate-uid: 7",
                "impersonate-user: ann",
            ),
        ),
    ),
    "groups without anybody": Case(_user(token="t1", **{"as-groups": ["g"]}), "without `as`", "without impersonating"),
}

FILES: dict[str, Case] = {
    "two files, of which the first decides": Case(_two_files, T1),
    "cluster and user in two files, each with paths beside it": Case(_cluster_and_user_apart, T1),
    "entries of one name are not merged": Case(_users_are_not_merged, Seen("", ("impersonate-user: ann",)), "refused"),
    "files that are missing or empty": Case(_missing_and_empty_files, T1),
    "another context than the current one": Case(_other_context, T1),
    "a context that is not there": Case(_missing_context, "no context 'nowhere'", "does not exist"),
    "a current context that is not there": Case(
        lambda s: s.write(config(s.secure(), {}, **{"current-context": "gone"})), "no context 'gone'", "not found"
    ),
    "a cluster that is not there": Case(
        lambda s: s.write(config(s.secure(), clusters=[])), "needs the cluster 'k'", "refused"
    ),
    "a user that is not there": Case(lambda s: s.write(config(s.secure(), users=[])), "needs the user 'u'", "refused"),
    "a name twice": Case(
        lambda s: s.write(config(s.secure(), users=[{"name": "u"}, {"name": "u"}])), "same name twice", "duplicate"
    ),
    "another kind": Case(lambda s: s.write(config(s.secure(), kind="Pod")), "not a kubeconfig", "refused"),
    "no YAML": Case(lambda s: s.write("{"), "not valid YAML", "refused"),
    "JSON": Case(lambda s: s.write(yaml.safe_dump(config(s.secure(), {"token": "t1"}), default_flow_style=True)), T1),
}

CLUSTERS: dict[str, Case] = {
    "an authority in a file": Case(lambda s: s.write(config(s.secure(), {"token": "t1"})), T1),
    "an authority as data": Case(
        lambda s: s.write(
            config({"server": s.world.https_url, "certificate-authority-data": s.data("ca.crt")}, {"token": "t1"})
        ),
        T1,
    ),
    "another authority": Case(
        lambda s: s.write(config(s.secure(**{"certificate-authority": s.cert("other-ca.crt")}), {"token": "t1"})),
        "certificate is not accepted",
        "certificate signed by unknown authority",
    ),
    "no authority": Case(
        lambda s: s.write(config({"server": s.world.https_url}, {"token": "t1"})),
        "certificate is not accepted",
        "certificate signed by unknown authority",
    ),
    "an authority that is not there": Case(
        lambda s: s.write(config(s.secure(**{"certificate-authority": "nowhere"}), {"token": "t1"})),
        "cannot be read as certificates",
        "no such file",
    ),
    "no check": Case(
        lambda s: s.write(config({"server": s.world.https_url, "insecure-skip-tls-verify": True}, {"token": "t1"})),
        T1,
    ),
    "no check and an authority": Case(
        lambda s: s.write(config(s.secure(**{"insecure-skip-tls-verify": True}), {"token": "t1"})),
        "remove one",
        "not allowed",
    ),
    "another name of the server": Case(
        lambda s: s.write(config(s.secure(**{"tls-server-name": NAME}), {"token": "t1"})),
        Seen("Bearer t1", server_name=NAME),
    ),
    "a wrong name of the server": Case(
        lambda s: s.write(config(s.secure(**{"tls-server-name": "other.example"}), {"token": "t1"})),
        "certificate is not accepted",
        "not other.example",
    ),
    "a server below a path": Case(
        lambda s: s.write(config(s.secure(server=s.world.https_url + WORKSPACE), {"token": "t1"})),
        Seen("Bearer t1", prefix=WORKSPACE),
        T1,  # by `get --raw`, which takes the path as the whole one
    ),
    "a server with a slash at its end": Case(
        lambda s: s.write(config(s.secure(server=s.world.https_url + "/"), {"token": "t1"})), T1
    ),
    "a server without a scheme": Case(
        lambda s: s.write(config({"server": s.world.http_url.removeprefix("http://")})), Seen()
    ),
    "a server of this machine without TLS": Case(
        lambda s: s.write(config({"server": s.world.http_url}, {"token": "t1"})), T1, Seen()
    ),
    "a server without a scheme, and an authority": Case(
        lambda s: s.write(config(s.secure(server=s.world.https_url.removeprefix("https://")), {"token": "t1"})),
        "without success",
        "EOF",
    ),
    "a server of another scheme": Case(_cluster(server="ftp://127.0.0.1"), "not a URL of http or https", "refused"),
    "a client certificate as data": Case(
        lambda s: s.write(config(s.secure(), _certificate(s))), Seen(certificate="alice")
    ),
    "a client certificate in files": Case(
        lambda s: s.write(
            config(s.secure(), {"client-certificate": s.cert("alice.crt"), "client-key": s.cert("alice.key")})
        ),
        Seen(certificate="alice"),
    ),
    "a client certificate without its key": Case(
        lambda s: s.write(config(s.secure(), {"client-certificate-data": s.data("alice.crt")})),
        "no client-key",
        "client-key",
    ),
    "a client certificate with another key": Case(
        lambda s: s.write(config(s.secure(), {**_certificate(s), "client-key-data": s.data("bob.key")})),
        "cannot be read as PEM",
        "private key",
    ),
    "a client certificate and a token": Case(
        lambda s: s.write(config(s.secure(), {**_certificate(s), "token": "t1"})),
        Seen("Bearer t1", certificate="alice"),
    ),
    "data that is not base64": Case(
        lambda s: s.write(config(s.secure(), {**_certificate(s), "client-key-data": "%%%"})), "not base64", "base64"
    ),
}

PLUG_INS: dict[str, Case] = {
    "a plug-in that prints a token": Case(_plug({"token": "t1"}), T1),
    "a plug-in that prints a certificate": Case(_plug_in_certificate, Seen(certificate="alice")),
    "a plug-in beside the kubeconfig": Case(_relative_plug_in, T1),
    "a plug-in on the PATH": Case(_plug_in_of_path, T1),
    "a plug-in with arguments and variables": Case(_plug_in_with_environment, Seen("Bearer me-arg-out")),
    "a plug-in of v1beta1": Case(
        _plug({"token": "t1"}, version="v1beta1", apiVersion="client.authentication.k8s.io/v1beta1"), T1
    ),
    "a plug-in of v1alpha1": Case(
        _plug({"token": "t1"}, version="v1alpha1", apiVersion="client.authentication.k8s.io/v1alpha1"),
        "apiVersion must be",
        "invalid apiVersion",
    ),
    "a plug-in that prints another version": Case(
        _plug({"token": "t1"}, version="v1beta1"), "did not print an ExecCredential of", "plugin returned version"
    ),
    "a plug-in that may ask": Case(_plug({"token": "t1"}, interactiveMode="IfAvailable"), T1),
    "a plug-in that must ask": Case(
        _plug({"token": "t1"}, interactiveMode="Always"), "has no terminal", "standard input is not a terminal"
    ),
    "a plug-in without interactiveMode": Case(
        _plug({"token": "t1"}, interactiveMode=None), "interactiveMode must be", "interactiveMode must be specified"
    ),
    "a plug-in that prints nothing of use": Case(_plug({}), "neither a token nor", "didn't return a token"),
    "a plug-in that prints half a certificate": Case(_plug({"clientCertificateData": "x"}), "and not both", "not both"),
    "a plug-in that fails": Case(
        _plug({"token": "t1"}, code=3, says="sign in first"), "exit code 3: sign in first", "exit code 3"
    ),
    "a plug-in that is missing": Case(
        _user(**exec_user("no-such-plug-in", installHint="brew it")), "was not found: brew it", "not found"
    ),
    "a token wins over a plug-in": Case(
        lambda s: s.write(config(s.secure(), {"token": "t1", **exec_user("/bin/false")})), T1
    ),
}

PROXIES: dict[str, Case] = {
    "proxy-url": Case(_behind(), Seen("Bearer t1", server_name=NAME, proxy="")),
    "proxy-url with credentials": Case(_behind("us%20er:p%40ss@"), Seen("Bearer t1", server_name=NAME, proxy=LOGIN)),
    "proxy-url wins over NO_PROXY": Case(_behind(NO_PROXY=NAME), Seen("Bearer t1", server_name=NAME, proxy="")),
    "proxy-url wins over HTTPS_PROXY": Case(
        _behind(HTTPS_PROXY="http://127.0.0.1:1"), Seen("Bearer t1", server_name=NAME, proxy="")
    ),
    "HTTPS_PROXY": Case(
        _behind_environment(HTTPS_PROXY="http://{proxy}"), Seen("Bearer t1", server_name=NAME, proxy="")
    ),
    "https_proxy without a scheme": Case(
        _behind_environment(https_proxy="{proxy}"), Seen("Bearer t1", server_name=NAME, proxy="")
    ),
    "HTTPS_PROXY with credentials": Case(
        _behind_environment(HTTPS_PROXY="http://us%20er:p%40ss@{proxy}"),
        Seen("Bearer t1", server_name=NAME, proxy=LOGIN),
    ),
    "HTTPS_PROXY for others than NO_PROXY": Case(
        _behind_environment(HTTPS_PROXY="http://{proxy}", NO_PROXY=f"x{NAME},.{NAME},10.0.0.0/8,{NAME}:1"),
        Seen("Bearer t1", server_name=NAME, proxy=""),
    ),
    "NO_PROXY": Case(
        _behind_environment(HTTPS_PROXY="http://{proxy}", NO_PROXY="10.0.0.0/8, .example"),
        "without success",
        "no such host",
    ),
    "HTTP_PROXY is not for TLS": Case(
        _behind_environment(HTTP_PROXY="http://{proxy}"), "without success", "no such host"
    ),
    "HTTP_PROXY, and no credentials in plain text": Case(_plain_behind(HTTP_PROXY="http://{proxy}"), Seen(proxy="")),
    "no proxy of the environment leads to this machine": Case(
        lambda s: (s.environment.update(HTTP_PROXY="http://127.0.0.1:1"), _user(token="t1")(s)), T1
    ),
    "a socks5 proxy": Case(
        lambda s: s.write(config(s.behind(**{"proxy-url": "socks5://127.0.0.1:1"}), {"token": "t1"})),
        "a proxy of socks5://",
        "was refused",
    ),
    "a proxy-url of another scheme": Case(
        lambda s: s.write(config(s.behind(**{"proxy-url": "ftp://127.0.0.1:1"}), {"token": "t1"})),
        "only http:// proxies",
        "unsupported scheme",
    ),
    "a proxy that refuses": Case(
        lambda s: (_behind("us%20er:p%40ss@")(s), setattr(s.world, "proxy_login", "other")),
        "407 from the proxy 127.0.0.1",
        "Proxy",
    ),
}

CASES = TOKENS | ACCOUNTS | FILES | CLUSTERS | PLUG_INS | PROXIES
