"""Credentials that change while a step runs, that are late, that fail, and that no text may show."""

import json
import logging
import os
import subprocess
import threading
from collections.abc import Callable, Generator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from kubeconfig_world import PROBE, Certificates, Seen, World, config, exec_user, plug_in

from dagster_ray.core import Deadline
from dagster_ray.core.errors import DagsterRayError
from dagster_ray.kuberay import KubeRayInteractiveJob
from dagster_ray.kuberay._kubernetes.calls import KubernetesApi
from dagster_ray.kuberay._kubernetes.credentials import expires_soon
from dagster_ray.kuberay._kubernetes.errors import CredentialsError, ExecPluginError, KubernetesError, UnauthorizedError
from dagster_ray.kuberay._kubernetes.exec_plugin import Printed, words_of

SECONDS = 20.0
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
CANARY = "canary-0a4d55a8d778"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Generator[World]:
    with World(Certificates(tmp_path_factory.mktemp("certificates"))) as found:
        yield found


@pytest.fixture
def world(servers: World) -> World:
    servers.begin()
    return servers


def written(folder: Path, world: World, user: dict[str, Any]) -> str:
    cluster = {"server": world.https_url, "certificate-authority": world.certificates.path("ca.crt")}
    path = folder / "config"
    path.write_text(yaml.safe_dump(config(cluster, user)), encoding="utf-8")
    return str(path)


def call(api: KubernetesApi) -> None:
    api.read(PROBE, Deadline(SECONDS))


def stream(api: KubernetesApi) -> None:
    with pytest.raises(KubernetesError, match="create pods/portforward"):
        api.open_stream("default", "probe", 10001, SECONDS)


def runs(folder: Path) -> int:
    """Return how often the counting plug-in has run."""
    path = folder / "runs"
    return len(path.read_text()) if path.exists() else 0


def counting_plug_in(folder: Path, body: str) -> str:
    path = folder / "plug-in"
    path.write_text(f"#!/bin/sh\nprintf x >> {folder}/runs\n{body}\n")
    path.chmod(0o755)
    return str(path)


def prints(token: str, **status: str) -> str:
    kind = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": token, **status},
    }
    return f"echo '{json.dumps(kind)}'"


def test_the_token_of_the_account_is_given_to_rays_that_let_kubernetes_judge(world: World, tmp_path: Path) -> None:
    api = KubernetesApi.load(written(tmp_path, world, exec_user(counting_plug_in(tmp_path, prints("t1")))))
    assert api.token(Deadline(SECONDS)) == "t1"
    api.close()


@pytest.mark.parametrize(
    ("user", "reason"),
    [
        pytest.param({"username": "u", "password": CANARY}, "they hold no token", id="a password"),
        pytest.param({}, "they hold no token", id="nothing"),
        pytest.param({"token": CANARY, "as": "ann"}, "`as` is set, and Ray judges the token alone", id="as another"),
    ],
)
def test_an_account_that_ray_cannot_judge_is_refused(
    user: dict[str, Any], reason: str, world: World, tmp_path: Path
) -> None:
    """By the token alone a step would have the rights of the stronger account, from which `as` has turned."""
    api = KubernetesApi.load(written(tmp_path, world, user))
    with pytest.raises(CredentialsError) as caught:
        api.token(Deadline(SECONDS))
    api.close()
    assert caught.value.reason == reason
    assert CANARY not in str(caught.value)


# What changes

Change = tuple[dict[str, Any], Callable[[], object]]


def token_file(folder: Path, world: World) -> Change:
    path = folder / "token"
    path.write_text("t1")
    return {"tokenFile": "token"}, lambda: path.write_text("t2\n")


def plug_in_without_expiry(folder: Path, world: World) -> Change:
    command = plug_in(folder, {"token": "t1"})
    return exec_user(command), lambda: plug_in(folder, {"token": "t2"})


def kubeconfig_itself(folder: Path, world: World) -> Change:
    return {"token": "t1"}, lambda: written(folder, world, {"token": "t2"})


@pytest.mark.parametrize("way", [call, stream])
@pytest.mark.parametrize("kind", [token_file, plug_in_without_expiry, kubeconfig_itself])
def test_new_credentials_are_taken_when_the_old_ones_end(
    kind: Callable[[Path, World], Change], way: Callable[[KubernetesApi], None], world: World, tmp_path: Path
) -> None:
    user, change = kind(tmp_path, world)
    api = KubernetesApi.load(written(tmp_path, world, user))
    world.takes = {"Bearer t1"}
    way(api)
    world.takes = {"Bearer t2"}
    change()
    way(api)
    way(api)
    api.close()
    assert [seen.authorization for seen in world.seen[-2:]] == ["Bearer t2", "Bearer t2"]


def test_a_certificate_of_a_plug_in_is_replaced(world: World, tmp_path: Path) -> None:
    def print_certificate(name: str, **more: str) -> str:
        status = {
            "clientCertificateData": world.certificates.text(f"{name}.crt"),
            "clientKeyData": world.certificates.text(f"{name}.key"),
        }
        return plug_in(tmp_path, {**status, **more})

    soon = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    api = KubernetesApi.load(written(tmp_path, world, exec_user(print_certificate("alice", expirationTimestamp=soon))))
    call(api)
    print_certificate("bob")
    call(api)
    stream(api)
    api.close()
    assert world.seen == [Seen(certificate="alice"), Seen(certificate="bob"), Seen(certificate="bob")]


def test_a_token_file_that_is_being_replaced_breaks_nothing(world: World, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("t1")
    api = KubernetesApi.load(written(tmp_path, world, {"tokenFile": "token"}))
    call(api)
    path.write_text("")
    call(api)
    path.unlink()
    call(api)
    api.close()
    assert {seen.authorization for seen in world.seen} == {"Bearer t1"}


def test_the_pod_takes_the_new_token_of_its_account(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in {"token": "t1", "namespace": "ray", "ca.crt": world.certificates.text("ca.crt")}.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr("dagster_ray.kuberay._kubernetes.kubeconfig_files._ACCOUNT_FOLDER", tmp_path)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(world.https.server_port))
    api = KubernetesApi.load()
    call(api)
    (tmp_path / "token").write_text("t2")
    call(api)
    api.close()
    assert (api.namespace, api.in_cluster) == ("ray", True)
    assert [seen.authorization for seen in world.seen] == ["Bearer t1", "Bearer t2"]


def test_credentials_that_stay_refused_are_an_error_after_one_more_try(world: World, tmp_path: Path) -> None:
    world.takes = {"Bearer other"}
    api = KubernetesApi.load(written(tmp_path, world, exec_user(counting_plug_in(tmp_path, prints("t1")))))
    with pytest.raises(UnauthorizedError):
        call(api)
    api.close()
    assert runs(tmp_path) == 2
    assert len(world.seen) == 1, "the same token would be refused again"


def test_a_kubeconfig_that_now_means_another_cluster_is_not_followed(world: World, tmp_path: Path) -> None:
    path = written(tmp_path, world, {"token": "t1"})
    api = KubernetesApi.load(path)
    Path(path).write_text(yaml.safe_dump(config({"server": "https://other.example"}, {"token": "t2"})))
    world.takes = {"Bearer t2"}
    with pytest.raises(UnauthorizedError):
        call(api)
    api.close()
    assert {seen.authorization for seen in world.seen} == {"Bearer t1"}


@pytest.mark.parametrize(
    ("lives", "passed", "soon"),
    [
        pytest.param(None, 1_000_000, False, id="without an end"),
        pytest.param(3600, 3569, False, id="an hour, early"),
        pytest.param(3600, 3570, True, id="an hour, 30 s before"),
        pytest.param(60, 44, False, id="a minute, early"),
        pytest.param(60, 45, True, id="a minute, at 3/4"),
        pytest.param(-10, 0, True, id="over"),
    ],
)
def test_when_a_plug_in_runs_again(lives: int | None, passed: int, soon: bool) -> None:
    expires_at = None if lives is None else NOON + timedelta(seconds=lives)
    assert expires_soon(Printed("t", expires_at=expires_at), NOON, NOON + timedelta(seconds=passed)) is soon


# What is late or fails


def test_one_run_serves_all_threads(world: World, tmp_path: Path) -> None:
    command = counting_plug_in(tmp_path, f"sleep 0.5; {prints('t1')}")
    api = KubernetesApi.load(written(tmp_path, world, exec_user(command)))
    threads = [threading.Thread(target=call, args=(api,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    api.close()
    assert (runs(tmp_path), len(world.seen)) == (1, 8)


def test_a_plug_in_that_hangs_is_told_at_the_deadline_and_ended_with_the_step(world: World, tmp_path: Path) -> None:
    command = counting_plug_in(tmp_path, f"sleep 600 & echo $! > {tmp_path}/child; wait")
    api = KubernetesApi.load(written(tmp_path, world, exec_user(command)))
    deadline = Deadline(1.0)
    with pytest.raises(ExecPluginError, match="has not ended after"):
        api.read(PROBE, deadline)
    with pytest.raises(ExecPluginError, match="has not ended after"):
        api.read(PROBE, Deadline(0.1))
    api.close()
    assert runs(tmp_path) == 1, "the second call waits for the same run"
    child = int((tmp_path / "child").read_text())
    shown = subprocess.run(["ps", "-o", "stat=", "-p", str(child)], capture_output=True, text=True, check=False)
    assert shown.stdout.strip()[:1] in {"", "Z"}


def test_a_step_whose_plug_in_hangs_ends_at_its_timeout(world: World, tmp_path: Path) -> None:
    path = written(tmp_path, world, exec_user(counting_plug_in(tmp_path, "sleep 600")))
    resource = KubeRayInteractiveJob(timeout=2, kubeconfig_file=path, image="registry.example/ray")
    with pytest.raises(ExecPluginError, match="has not ended after 2 s"):
        resource.create(dg.build_init_resource_context())
    resource.release(dg.build_init_resource_context())
    assert runs(tmp_path) == 1


def test_a_plug_in_that_leaves_a_helper_behind_has_ended(world: World, tmp_path: Path) -> None:
    command = counting_plug_in(tmp_path, f"sleep 30 & echo $! > {tmp_path}/child; {prints('t1')}")
    api = KubernetesApi.load(written(tmp_path, world, exec_user(command)))
    call(api)
    api.close()
    os.kill(int((tmp_path / "child").read_text()), 9)
    assert world.seen == [Seen("Bearer t1")]


def test_a_plug_in_that_fails_once_is_run_again(world: World, tmp_path: Path) -> None:
    command = counting_plug_in(tmp_path, f"[ $(wc -c < {tmp_path}/runs) -gt 1 ] || exit 1; {prints('t1')}")
    api = KubernetesApi.load(written(tmp_path, world, exec_user(command)))
    call(api)
    api.close()
    assert runs(tmp_path) == 2


def test_a_plug_in_that_fails_later_is_waited_for(world: World, tmp_path: Path) -> None:
    over = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    counting_plug_in(tmp_path, prints("t1", expirationTimestamp=over))
    api = KubernetesApi.load(written(tmp_path, world, exec_user(str(tmp_path / "plug-in"))))
    call(api)
    counting_plug_in(tmp_path, f"[ $(wc -c < {tmp_path}/runs) -gt 5 ] || exit 1; {prints('t2')}")
    call(api)
    api.close()
    assert [seen.authorization for seen in world.seen] == ["Bearer t1", "Bearer t2"]


def test_a_failing_plug_in_is_told_in_its_own_words(world: World, tmp_path: Path) -> None:
    command = counting_plug_in(tmp_path, "echo 'The SSO session has expired. Run: cloud login' >&2; exit 255")
    api = KubernetesApi.load(written(tmp_path, world, exec_user(command)))
    with pytest.raises(ExecPluginError) as caught:
        call(api)
    api.close()
    assert caught.value.said == "The SSO session has expired. Run: cloud login"
    assert "exit code 255" in caught.value.problem
    assert world.seen == [], "nobody calls as an anonymous user"


@pytest.mark.parametrize(
    ("stderr", "words"),
    [
        ("", ""),
        ("one\n two\x1b[0m", "one two [0m"),
        ("Authorization: Bearer abc.def", "Authorization: (hidden)"),
        ("got eyJhbGciOiJSUzI1NiJ9.eyJzdWIi.sig here", "got (hidden) here"),
        ("proxy http://me:secret@proxy:80", "proxy http://(hidden)proxy:80"),
        ("-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----\nrest", "(hidden) rest"),
        ("x" * 500, "... " + "x" * 400),
    ],
)
def test_what_a_plug_in_says_is_shown_without_credentials(stderr: str, words: str) -> None:
    assert words_of(stderr) == words


# What no text may show

PRINTED = {
    "a newline": f"{CANARY}\nX-Injected: 1",
    "a carriage return": f"{CANARY}\rx",
    "a null": f"{CANARY}\x00",
    "a blank": f"{CANARY} x",
    "other letters": f"{CANARY}-ü-漢",
}


def by_token(folder: Path, world: World, value: str) -> dict[str, Any]:
    return {"token": value}


def by_token_file(folder: Path, world: World, value: str) -> dict[str, Any]:
    (folder / "token").write_text(value, encoding="utf-8")
    return {"tokenFile": "token"}


def by_plug_in(folder: Path, world: World, value: str) -> dict[str, Any]:
    return exec_user(plug_in(folder, {"token": value}))


def by_broken_plug_in(folder: Path, world: World, value: str) -> dict[str, Any]:
    return exec_user(counting_plug_in(folder, f"printf '%s' '{CANARY}'"))


def by_impersonation(folder: Path, world: World, value: str) -> dict[str, Any]:
    return {"token": "t1", "as": value}


def by_key(folder: Path, world: World, value: str) -> dict[str, Any]:
    return {"client-certificate": world.certificates.path("alice.crt"), "client-key-data": CANARY}


def failure(way: Callable[[KubernetesApi], None], path: str) -> DagsterRayError | None:
    try:
        api = KubernetesApi.load(path)
        try:
            way(api)
        finally:
            api.close()
    except DagsterRayError as error:
        return error
    return None


@pytest.mark.parametrize("value", PRINTED.values(), ids=PRINTED)
@pytest.mark.parametrize("form", [by_token, by_token_file, by_plug_in, by_broken_plug_in, by_impersonation, by_key])
def test_no_text_shows_a_credential(
    form: Callable[[Path, World, str], dict[str, Any]],
    value: str,
    world: World,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    path = written(tmp_path, world, form(tmp_path, world, value))
    for way in (call, stream):
        found = failure(way, path)
        if found is None:
            assert form is by_impersonation
            continue
        assert CANARY not in f"{found!s} {found!r}"
        assert found.__suppress_context__ or found.__context__ is None
        assert world.seen == []
    assert CANARY not in caplog.text
    assert not any("injected" in part for seen in world.seen for part in seen.impersonate)


def test_a_proxys_password_is_in_no_text(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world.proxy_login = "another"
    cluster = {"server": "https://api.example", "proxy-url": f"http://me:{CANARY}@{world.proxy}"}
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(config(cluster, {"token": "t1"})))
    for change in ("", "ftp"):
        path.write_text(path.read_text().replace("http://me", f"{change or 'http'}://me"))
        with pytest.raises(DagsterRayError) as caught:
            call(KubernetesApi.load(str(path)))
        assert CANARY not in f"{caught.value!s} {caught.value!r}"


def test_a_server_that_is_not_checked_is_told_once(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(config({"server": world.https_url, "insecure-skip-tls-verify": True})))
    for _ in range(2):
        api = KubernetesApi.load(str(path))
        call(api)
        call(api)
        api.close()
    assert caplog.text.count("insecure-skip-tls-verify") == 1
    assert list(recwarn) == []


def test_settings_do_not_show_secrets(world: World, tmp_path: Path) -> None:
    api = KubernetesApi.load(written(tmp_path, world, {"username": "u", "password": CANARY}))
    assert CANARY not in repr(vars(api._connection))  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(CredentialsError) as caught:
        call(KubernetesApi.load(written(tmp_path, world, {"token": f"{CANARY} x"})))
    assert CANARY not in repr(caught.value)
