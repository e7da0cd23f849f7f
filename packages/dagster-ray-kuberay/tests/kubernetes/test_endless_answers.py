"""Answers that come byte by byte, and names that are never looked up: each call ends with its deadline."""

import ssl
from pathlib import Path

import pytest
import yaml
from dripping_server import ENDLESS_BODY, ENDLESS_HEAD, dripping, names_hanging
from kubeconfig_world import Certificates
from test_kubernetes import kubeconfig

from dagster_ray.core import Deadline
from dagster_ray.kuberay._head.dashboard import Silent, ask
from dagster_ray.kuberay._head.route import speaks_http2
from dagster_ray.kuberay._kubernetes.calls import KubernetesApi
from dagster_ray.kuberay._kubernetes.errors import KubernetesAnswerError, UnavailableError
from dagster_ray.kuberay._kubernetes.kinds import RAYJOBS


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


FIRST = {"in its head": ENDLESS_HEAD, "in its body": ENDLESS_BODY}


@pytest.mark.parametrize("first", FIRST.values(), ids=FIRST)
def test_an_api_server_that_drips_is_unavailable(first: bytes, tmp_path: Path) -> None:
    with dripping(first, b"x") as port:
        api = KubernetesApi.load(kubeconfig(tmp_path, f"http://127.0.0.1:{port}"))
        with pytest.raises(UnavailableError, match="the answer was not over after"):
            api.get(RAYJOBS, "ray", "a", Deadline(0.5))
        api.close()


@pytest.mark.parametrize("first", FIRST.values(), ids=FIRST)
def test_an_api_server_with_tls_that_drips_is_unavailable(first: bytes, certificates: Certificates) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificates.path("server.crt"), certificates.path("server.key"))
    with dripping(first, b"x", tls) as port:
        file = Path(kubeconfig(certificates.folder, f"https://127.0.0.1:{port}"))
        config = yaml.safe_load(file.read_text())
        config["clusters"][0]["cluster"]["certificate-authority"] = certificates.path("ca.crt")
        file.write_text(yaml.safe_dump(config))
        api = KubernetesApi.load(str(file))
        with pytest.raises(UnavailableError, match="the answer was not over after"):
            api.get(RAYJOBS, "ray", "a", Deadline(1.0))
        # Old releases of websocket-client do not read the body of a refusal, so they end before the deadline.
        with pytest.raises((OSError, KubernetesAnswerError), match=r"not over after|something else answered"):
            api.open_stream("ray", "head", 8265, 1.0)
        api.close()


def test_a_watch_whose_head_drips_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dagster_ray.kuberay._kubernetes.calls.CONNECT_SECONDS", 0.3)
    monkeypatch.setattr("dagster_ray.kuberay._kubernetes.calls._WATCH_HEADERS_SECONDS", 0.3)
    with dripping(ENDLESS_HEAD, b"x") as port:
        api = KubernetesApi.load(kubeconfig(tmp_path, f"http://127.0.0.1:{port}"))
        with api.watch(RAYJOBS, "ray", resource_version="1") as watching:
            while watching.absence is None:
                assert watching.next(0.05) is None
        api.close()


def test_a_port_forward_whose_greeting_drips_ends_in_time(tmp_path: Path) -> None:
    with dripping(b"HTTP/1.1 101 Switching Protocols\r\nX-Long: ", b"x") as port:
        api = KubernetesApi.load(kubeconfig(tmp_path, f"http://127.0.0.1:{port}"))
        with pytest.raises(OSError, match="not over after"):
            api.open_stream("ray", "head", 8265, 0.5)
        api.close()


@pytest.mark.parametrize("first", FIRST.values(), ids=FIRST)
def test_a_dashboard_that_drips_is_silent(first: bytes) -> None:
    with dripping(first, b"x") as port:
        answer = ask(f"http://127.0.0.1:{port}", None, 0.5)
    assert answer == Silent("TimeoutError: the answer was not over after 0.5 s")


def test_names_that_are_not_looked_up_end_each_call(tmp_path: Path) -> None:
    api = KubernetesApi.load(kubeconfig(tmp_path, "http://slow-api"))
    with names_hanging():
        with pytest.raises(UnavailableError, match="the name slow-api was not looked up within"):
            api.get(RAYJOBS, "ray", "a", Deadline(0.5))
        with pytest.raises(OSError, match="the name slow-api was not looked up within"):
            api.open_stream("ray", "head", 8265, 0.2)
        assert isinstance(ask("http://slow-head:8265", None, 0.2), Silent)
        assert not speaks_http2("slow-head", 10001, 0.2)
    api.close()
