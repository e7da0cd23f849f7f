"""Whatever a job server answers and whatever a job prints: it is read, or it is text; nothing is raised."""

import json
import math

from hypothesis import example, given, settings
from hypothesis import strategies as st

from dagster_ray.pipes._cursor import LineCursor, TextCursor
from dagster_ray.pipes._job_answers import (
    EXCERPT,
    JobDetails,
    Node,
    excerpt,
    is_duplicate,
    json_object,
    last_line,
    read_list,
    read_nodes,
)
from dagster_ray.pipes._messages import Delivered, has_message, log_line, read_line

# The same examples in every run, and no limit on the time that one takes.
fuzzed = settings(derandomize=True, database=None, deadline=None, max_examples=60)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=8
)
bodies = st.binary() | json_values.map(lambda value: json.dumps(value).encode())
DEEP = b"[" * 100_000
MANY_DIGITS = 10**400
KEYS = (
    *("submission_id", "status", "job_id", "message", "error_type", "metadata", "start_time", "end_time"),
    *("driver_agent_http_address", "driver_node_id", "driver_exit_code"),
)
odd = scalars | st.lists(scalars, max_size=2) | st.dictionaries(st.text(), scalars, max_size=2)
jobs = st.fixed_dictionaries({}, optional=dict.fromkeys(KEYS, odd)) | odd
raylets = st.fixed_dictionaries({}, optional=dict.fromkeys(("nodeId", "isHeadNode", "state", "rayletSocketName"), odd))
PREFIX = b'{"__dagster_pipes_version"'
messages = st.fixed_dictionaries(
    {"__dagster_pipes_version": scalars},
    optional={"method": scalars | st.just("log"), "params": json_values},
).map(lambda value: json.dumps(value).encode())


@fuzzed
@given(bodies)
@example(DEEP)
def test_an_answer_of_any_bytes_is_read(body: bytes) -> None:
    assert json_object(body) is None or isinstance(json_object(body), dict)
    assert 0 < len(excerpt(body)) <= EXCERPT
    assert 0 < len(last_line(body)) <= EXCERPT
    assert isinstance(is_duplicate(500, body), bool)
    assert all(isinstance(one, Node) for one in read_nodes(body))
    found = read_list(body)
    assert found is None or all(isinstance(one, JobDetails) for one in found)


@fuzzed
@given(st.lists(jobs, max_size=4))
@example([{"status": "RUNNING", "start_time": MANY_DIGITS, "end_time": math.inf, "driver_exit_code": MANY_DIGITS}])
@example([{"status": "RUNNING", "start_time": True, "metadata": {"a": None}}])
def test_jobs_of_any_shape_have_the_types_that_they_promise(listed: list[object]) -> None:
    found = read_list(json.dumps(listed).encode())
    assert found is not None
    for job in found:
        assert all(isinstance(one, str) for one in (job.submission_id, job.status, job.message))
        assert all(one is None or isinstance(one, str) for one in (job.job_id, job.error_type, job.node_id))
        assert all(one is None or math.isfinite(one) for one in (job.start_time, job.end_time))
        assert all(isinstance(value, str) for value in job.metadata.values())


@fuzzed
@given(st.lists(raylets | odd, max_size=4))
def test_nodes_of_any_shape_have_the_types_that_they_promise(listed: list[object]) -> None:
    body = json.dumps({"data": {"summary": [{"raylet": one} for one in listed]}}).encode()
    for node in read_nodes(body):
        assert isinstance(node.node_id, str)
        assert node.session_dir is None or isinstance(node.session_dir, str)


@fuzzed
@given(st.lists(st.binary(max_size=20) | messages | st.just(PREFIX), max_size=6))
@example([PREFIX + b": " + DEEP])
@example([PREFIX + b': 1, "method": "log", "params": {"level": [], "message": {}}}'])
@example([PREFIX + b': 1, "method": "log", "params": {"a": ' + b"9" * 5000 + b"}}"])
def test_a_line_of_any_bytes_is_messages_and_text(pieces: list[bytes]) -> None:
    line = b"".join(pieces)
    read_line(line, dedicated=True)
    found = read_line(line)
    assert not found.messages or has_message(line)
    delivered = Delivered(shown for message in found.messages if (shown := log_line(message)) is not None)
    for message in found.messages:
        assert delivered.skips(message) is (log_line(message) is not None)
    if not found.messages:
        assert found.rest == line.decode("utf-8", "replace")


@fuzzed
@given(st.lists(st.binary(), max_size=12))
def test_bytes_cut_anywhere_are_the_same_lines_and_the_same_text(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    lines, texts = LineCursor(), TextCursor()
    cut: list[bytes] = []
    text = ""
    for piece in pieces:
        lines, more = lines.feed(piece)
        cut += more
        texts, shown = texts.feed(piece)
        text += shown
        assert data[lines.committed : lines.position] == lines.pending
        assert texts.position == lines.position
    _, rest = lines.end()
    assert b"\n".join(cut + rest) == data.removesuffix(b"\n")
    assert text + texts.end()[1] == data.decode("utf-8", "replace")
