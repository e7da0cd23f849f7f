"""Something other than the API server answers: login pages, redirects, proxies."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from scripted_server import Reply, ScriptedServer, answer
from test_kubernetes import CANARY, deadline, job, kubeconfig

from dagster_ray.kuberay._kubernetes.answers import foreign_answer, words_of
from dagster_ray.kuberay._kubernetes.calls import KubernetesApi
from dagster_ray.kuberay._kubernetes.errors import KubernetesAnswerError, UnavailableError
from dagster_ray.kuberay._kubernetes.kinds import RAYJOBS
from dagster_ray.kuberay.command import main

PAGE = (
    "<!DOCTYPE html><html><head><title>Sign in</title><style>p {}</style></head><body><p>to Example</p></body></html>"
)
LOGIN = answer(200, PAGE, Content_Type="text/html")


@pytest.mark.parametrize(
    ("status", "body", "more", "words"),
    [
        pytest.param(200, '{"kind": "RayJob"}', {}, None, id="an object"),
        pytest.param(200, '{"metadata": {}, "items": []}', {}, None, id="a list"),
        pytest.param(200, "line 1", {"form": "text"}, None, id="a log"),
        pytest.param(200, "<a line of a log>", {"form": "text"}, None, id="a log that begins like a page"),
        pytest.param(200, '{"major": "1"}', {"form": "json"}, None, id="the version"),
        pytest.param(404, "404 page not found", {}, None, id="the API server's word for an unknown path"),
        pytest.param(403, '{"kind": "Status"}', {}, None, id="a refusal"),
        pytest.param(200, PAGE, {}, "200 Sign in to Example", id="a login page"),
        pytest.param(200, PAGE, {"form": "text", "content_type": "text/html"}, "200 Sign in to Example", id="as a log"),
        pytest.param(200, '{"error": "sign in"}', {}, '200 {"error": "sign in"}', id="JSON of something else"),
        pytest.param(200, "", {}, "200 (an empty answer)", id="nothing"),
        pytest.param(200, "null", {"form": "json"}, "200 null", id="null"),
        pytest.param(403, "<h1>Blocked</h1>", {}, "403 Blocked", id="a proxy that blocks"),
        pytest.param(404, PAGE, {}, "404 Sign in to Example", id="a page that does not exist"),
        pytest.param(
            302,
            "",
            {"location": "https://login.example:8443/?state=secret"},
            "302, a redirect to login.example:8443, which is not followed",
            id="a redirect, without the secrets of its address",
        ),
        pytest.param(
            308, "", {"location": "/x"}, "308, a redirect to (a path of the same host), which is not followed", id="308"
        ),
        pytest.param(301, "", {}, "301, a redirect to (no address), which is not followed", id="301"),
        pytest.param(
            307,
            "",
            {"location": "http://[broken"},
            "307, a redirect to (no readable address), which is not followed",
            id="a redirect to nowhere",
        ),
    ],
)
def test_what_answered(status: int, body: str, more: dict[str, str], words: str | None) -> None:
    assert foreign_answer(status, body.encode(), **more) == words


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("plain\n  text", "plain text"),
        ("<p>one<p>two", "one two"),
        ("<script>if (a < b) {}</script>shown", "shown"),
        ("<!-- a > b -->shown<!-- cut", "shown"),
        ("shown <a href='cut", "shown"),
        ("<head><title>Title</title></head>", "Title"),
        ("a\x1b[31mred\x00", "a [31mred"),
        ("x" * 999, "x" * 200),
    ],
)
def test_a_page_is_shown_by_its_first_words(page: str, words: str) -> None:
    assert words_of(page.encode()) == words


@pytest.mark.parametrize(
    "reply", [LOGIN, answer(403, PAGE), answer(404, PAGE), answer(302, "", Location="http://127.0.0.1:1/login")]
)
def test_a_call_that_something_else_answers_says_so(reply: Reply, tmp_path: Path) -> None:
    with ScriptedServer(reply) as server:
        api = KubernetesApi.load(kubeconfig(tmp_path, server.url))
        with pytest.raises(KubernetesAnswerError) as caught:
            api.get(RAYJOBS, "ray", "a", deadline())
        api.close()
    assert len(server.seen) == 3, "a proxy that restarts shows its page once or twice"
    assert CANARY not in str(caught.value)


def test_a_page_that_passes_fails_nothing(tmp_path: Path) -> None:
    with ScriptedServer(LOGIN, LOGIN, answer(200, job())) as server:
        api = KubernetesApi.load(kubeconfig(tmp_path, server.url))
        assert api.get(RAYJOBS, "ray", "a", deadline())["metadata"]["name"] == "a"
        api.close()


def test_a_page_of_a_server_that_is_away_is_waited_for(tmp_path: Path) -> None:
    with ScriptedServer(answer(503, "<h1>Away</h1>")) as server:
        api = KubernetesApi.load(kubeconfig(tmp_path, server.url))
        with pytest.raises(UnavailableError, match="503 Away"):
            api.get(RAYJOBS, "ray", "a", deadline(5))
        api.close()
    assert len(server.seen) > 3


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_the_credentials_do_not_follow_a_redirect(status: int, tmp_path: Path) -> None:
    with ScriptedServer(answer(200, job())) as other:
        to = f"{other.url}/login?state=secret"
        replies = [answer(status, "", Location=to), answer(status, "", Location=to.replace("http", "ws"))]
        for reply in replies:
            with ScriptedServer(reply) as server:
                api = KubernetesApi.load(kubeconfig(tmp_path, server.url))
                with pytest.raises(KubernetesAnswerError) as by_call:
                    api.create(RAYJOBS, "ray", job(), deadline())
                with pytest.raises(KubernetesAnswerError) as by_stream:
                    api.open_stream("ray", "head", 10001, 10.0)
                api.close()
            for caught in (by_call, by_stream):
                assert f"a redirect to 127.0.0.1:{other.server_port}," in caught.value.problem
                assert "secret" not in str(caught.value)
        assert other.seen == []


@pytest.mark.parametrize("verb", [["gc"], ["clusters"], ["logs", "nightly"]])
def test_the_command_does_not_take_a_login_page_for_an_empty_cluster(verb: list[str], tmp_path: Path) -> None:
    with ScriptedServer(LOGIN) as server:
        path = kubeconfig(tmp_path, server.url)
        result = CliRunner().invoke(main, [*verb, "--kubeconfig", path])
    assert result.exit_code != 0
    assert "Sign in to Example" in result.output
    assert json.dumps(PAGE)[1:20] not in result.output
