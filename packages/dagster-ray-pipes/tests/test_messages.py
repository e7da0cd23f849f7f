import json

import pytest

from dagster_ray.pipes._messages import Delivered, has_message, read_line
from dagster_ray.pipes.errors import RayJobFailedError


def message(method: str = "log", **params: object) -> str:
    return json.dumps({"__dagster_pipes_version": "0.1", "method": method, "params": params})


ONE = message(message="one", level="INFO")
TWO = message(message='two {"__dagster_pipes_version" inside', level="INFO")


@pytest.mark.parametrize(
    ("line", "methods", "rest"),
    [
        pytest.param("plain text", 0, "plain text", id="no message"),
        pytest.param("", 0, "", id="empty"),
        pytest.param(ONE, 1, None, id="a message"),
        pytest.param(f"noise {ONE}", 1, "noise ", id="text before"),
        pytest.param(f"{ONE} noise", 1, " noise", id="text after"),
        pytest.param(ONE + TWO, 2, None, id="two in a line"),
        pytest.param(f"a{ONE}b{TWO}c", 2, "abc", id="two between text"),
        pytest.param(ONE[:-5], 0, ONE[:-5], id="torn"),
        pytest.param(ONE[:20] + ONE, 1, ONE[:20], id="torn, then whole"),
        pytest.param('{"__dagster_pipes_version": 1}', 0, '{"__dagster_pipes_version": 1}', id="no method"),
        pytest.param("[" * 5000, 0, "[" * 5000, id="deep"),
    ],
)
def test_a_line_is_read(line: str, methods: int, rest: str | None) -> None:
    found = read_line(line.encode())
    assert (len(found.messages), found.rest) == (methods, rest)


MATERIALIZED = '"method": "report_asset_materialization", "params": {"asset_key": "a"}'
FOREIGN: dict[str, tuple[str, int, int]] = {
    # The line, its messages in a log, and in a file that is for messages.
    "Dagster's guide for JavaScript": ('{"method":"log","params":{"message":"x","level":"INFO"}}', 1, 1),
    "a space after the brace": ('{ "__dagster_pipes_version": "0.1", "method": "closed", "params": null }', 1, 1),
    "the version last": (f'{{{MATERIALIZED}, "__dagster_pipes_version": "0.1"}}', 1, 1),
    "the params first": ('{"params": {"message": "x"}, "method": "log"}', 1, 1),
    "a field of another name first": (f'{{"sent": 1, {MATERIALIZED}, "__dagster_pipes_version": "0.1"}}', 1, 1),
    "a byte order mark and a carriage return": (f"\ufeff{{{MATERIALIZED}}}\r", 1, 1),
    "text around it": (f"2026-01-01 INFO {{{MATERIALIZED}}} done", 1, 1),
    "a check without what has a default": (
        '{"method": "report_asset_check", "params": {"asset_key": "a", "check_name": "c", "passed": true}}',
        1,
        1,
    ),
    "JSON-RPC with a method of its own": ('{"jsonrpc": "2.0", "method": "eth_call", "params": {}}', 0, 1),
    "JSON-RPC whose method is one of ours": ('{"jsonrpc": "2.0", "method": "log", "params": {"message": "x"}}', 0, 1),
    "JSON-RPC with a list": ('{"method": "log", "params": ["x"]}', 0, 0),
    "a method of ours with another field": ('{"method": "log", "params": {"text": "x"}}', 0, 1),
    "a method of ours without its field": ('{"method": "report_custom_message", "params": {}}', 0, 1),
    "a method of ours with one field more": ('{"method": "log", "params": {"message": "x", "id": 1}}', 0, 1),
    "a method of ours and nothing else": ('{"method": "closed"}', 0, 1),
    "a message inside another object": (f'{{"log": {{{MATERIALIZED}}}, "stream": "stdout"}}', 0, 0),
    "an object without a method": ('{"params": {"message": "x"}}', 0, 0),
    "a method that is no text": ('{"method": 1, "params": {"message": "x"}}', 0, 0),
    "no object": ('["log"]', 0, 0),
}


@pytest.mark.parametrize(("line", "in_log", "in_file"), FOREIGN.values(), ids=FOREIGN)
def test_a_writer_in_another_language_is_read_and_other_json_stays_text(line: str, in_log: int, in_file: int) -> None:
    for dedicated, count in ((False, in_log), (True, in_file)):
        found = read_line(line.encode(), dedicated=dedicated)
        assert len(found.messages) == count, f"{dedicated=}"
        if not count:
            assert found.rest == line, "word for word"
    assert has_message(line.encode()) or not in_log


def test_what_a_writer_leaves_out_has_the_default_of_the_protocol() -> None:
    lines = {
        "log": ('{"message": "x", "level": "verbose"}', {"message": "x", "level": "INFO"}),
        "report_asset_materialization": (
            '{"asset_key": "a"}',
            {"asset_key": "a", "metadata": None, "data_version": None},
        ),
        "report_asset_check": (
            '{"asset_key": "a", "check_name": "c", "passed": true}',
            {"asset_key": "a", "check_name": "c", "passed": True, "severity": "ERROR", "metadata": None},
        ),
    }
    for method, (params, filled) in lines.items():
        (found,) = read_line(f'{{"method": "{method}", "params": {params}}}'.encode(), dedicated=True).messages
        assert found["params"] == filled


def test_invalid_utf8_around_a_message_does_not_lose_it() -> None:
    line = b"\xff" + ONE.encode() + b"\xfe"
    assert has_message(line)
    assert [found["params"]["message"] for found in read_line(line).messages] == ["one"]


def test_what_was_delivered_is_skipped_as_often_as_it_was() -> None:
    delivered = Delivered([("INFO", "one"), ("WARNING", "two"), ("INFO", "one")])
    sent = [("info", "one"), ("WARN", "two"), ("INFO", "one"), ("INFO", "one"), ("ERROR", "two")]
    skipped = [delivered.skips(json.loads(message(message=text, level=level))) for level, text in sent]
    assert skipped == [True, True, True, False, False]


def test_only_log_messages_are_skipped() -> None:
    assert not Delivered([("INFO", "")]).skips(json.loads(message("report_asset_materialization", asset_key="a")))


MESSAGE = "runtime_env setup failed: Failed to set up runtime environment.\nERROR: no matching distribution\n"
FAILED = {
    "without a log": (MESSAGE, (), "ended as FAILED: runtime_env setup failed: Failed to set up runtime environment."),
    "with a log": (MESSAGE, ("Traceback", "KeyError"), "The last lines of its log:\n    Traceback\n    KeyError\n"),
    "without anything": ("", (), "ended as FAILED."),
}


@pytest.mark.parametrize(("message", "lines", "said"), FAILED.values(), ids=FAILED)
def test_a_failed_job_is_told_with_what_is_known(message: str, lines: tuple[str, ...], said: str) -> None:
    text = RayJobFailedError("job", "FAILED", message, None, lines).problem
    assert said in text
    assert ("Ray's message goes on:\n    ERROR: no matching" in text) is (bool(message) and not lines)


@pytest.mark.parametrize(
    ("message", "failure_class"),
    [
        pytest.param(
            "runtime_env setup failed: Failed to download runtime_env file package gcs://_ray_pkg_1.zip",
            "infrastructure",
            id="a package that Ray has dropped",
        ),
        pytest.param("runtime_env setup failed: No matching distribution", "configuration", id="another setup"),
        pytest.param("Job supervisor actor could not be scheduled", "configuration", id="no room"),
        pytest.param("The node it was running on is dead", "infrastructure", id="a lost node"),
        pytest.param("Job entrypoint command failed with exit code 1", "user", id="the job itself"),
    ],
)
def test_whose_failure_a_failed_job_is(message: str, failure_class: str) -> None:
    assert RayJobFailedError("job", "FAILED", message, None, ()).failure_class == failure_class
