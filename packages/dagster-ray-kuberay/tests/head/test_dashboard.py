"""What a dashboard's first answer means."""

import pytest

from dagster_ray.kuberay._head.dashboard import Metadata, Refused, Silent, ask, mismatch, read_answer

BODY = b'{"data":{"rayVersion":"2.60.0","pythonVersion":"3.11.7","rayInitCluster":false}}'


@pytest.mark.parametrize(
    ("status", "body", "answer"),
    [
        pytest.param(200, BODY, Metadata("2.60.0", "3.11.7"), id="versions"),
        pytest.param(
            401,
            b"Unauthorized: Missing authentication token",
            Refused("401 Unauthorized: Missing authentication token"),
            id="no token",
        ),
        pytest.param(
            403,
            b"Forbidden: Invalid authentication token",
            Refused("403 Forbidden: Invalid authentication token"),
            id="wrong token",
        ),
        pytest.param(404, b"", Silent("HTTP 404"), id="too old"),
        pytest.param(200, b"<html>", Silent("not JSON"), id="html"),
        pytest.param(200, b"[]", Silent("no data"), id="a list"),
        pytest.param(200, b'{"data":{"rayVersion":7}}', Metadata(None, None), id="odd types"),
    ],
)
def test_an_answer_means(status: int, body: bytes, answer: Metadata | Refused | Silent) -> None:
    assert read_answer(status, body) == answer


OURS = Metadata("2.60.0", "3.11.7")


@pytest.mark.parametrize(
    ("theirs", "found"),
    [
        pytest.param(OURS, None, id="the same"),
        pytest.param(Metadata("2.60.1", "3.11.9"), None, id="patch versions"),
        pytest.param(Metadata("2.59.0", "3.11.7"), ("Ray", "2.60.0", "2.59.0"), id="another Ray"),
        pytest.param(Metadata("2.60.0", "3.12.1"), ("Python", "3.11.7", "3.12.1"), id="another Python"),
        pytest.param(Metadata(None, None), None, id="nothing known"),
    ],
)
def test_versions_that_do_not_fit_are_named(theirs: Metadata, found: tuple[str, str, str] | None) -> None:
    assert mismatch(OURS, theirs) == found


def test_a_closed_port_is_silence() -> None:
    answer = ask("http://127.0.0.1:1", "secret-canary", 1.0)
    assert isinstance(answer, Silent)
    assert "secret-canary" not in answer.reason
