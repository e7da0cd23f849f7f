"""Local ports that lead to a pod, against pods that speak the websocket protocol from a script."""

# grpc and websocket-client are typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportMissingTypeStubs=false
# pyright: reportUnknownArgumentType=false

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from scripted_pods import (
    LONG_SECONDS,
    NUMBER,
    PORT,
    SETTINGS,
    SHORT_SECONDS,
    Pods,
    PodSide,
    Script,
    call,
    dial,
    echo,
    forward,
    greet_and_wait,
    read_all,
)
from typing_extensions import override
from websocket import WebSocket

from dagster_ray.kuberay._head import port_forward
from dagster_ray.kuberay._head.port_forward import PortForward
from dagster_ray.kuberay._kubernetes.errors import ForbiddenError, NotFoundError

pytestmark = pytest.mark.many_processes  # make test runs them


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:  # pyright: ignore[reportUnusedFunction]
    yield
    assert [thread.name for thread in threading.enumerate() if "port-forward" in thread.name] == []


def test_bytes_go_both_ways_unchanged() -> None:
    sent = bytes(range(256)) * 8000
    with forward(echo) as (opened, _), dial(opened) as local, ThreadPoolExecutor(1) as pool:
        sending = pool.submit(local.sendall, sent)
        got = bytearray()
        while len(got) < len(sent):
            got += local.recv(65536)
        sending.result()
    assert bytes(got) == sent


def separate_greetings(side: PodSide) -> None:
    side.greet()
    side.send(b"\0hello")


def greeting_with_data(side: PodSide) -> None:
    side.send(b"\0" + NUMBER + b"hel")
    side.send(b"\0lo")


def greeting_in_the_middle(side: PodSide) -> None:
    side.send(b"\0" + NUMBER)
    side.send(b"\0hello")
    side.send(b"\1" + NUMBER)


def fragments(side: PodSide) -> None:
    side.greet()
    side.send(b"\0hel", final=False)
    side.send(b"lo", opcode=0)


def other_channels_and_pings(side: PodSide) -> None:
    side.greet()
    assert side.data() == b"?"
    side.send(b"\0he")
    side.send(b"\5unknown")
    side.send(b"ping", opcode=9)
    assert side.frame() == (10, b"ping")
    side.send(b"\0")
    side.send(b"\0llo")


def data_that_looks_like_a_greeting(side: PodSide) -> None:
    side.greet()
    side.send(b"\0" + NUMBER)
    side.send(b"\0hello")


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        pytest.param(separate_greetings, b"hello", id="the first frame of each channel is the port number"),
        pytest.param(greeting_with_data, b"hello", id="bytes behind the port number are data"),
        pytest.param(greeting_in_the_middle, b"hello", id="the error channel may greet later"),
        pytest.param(fragments, b"hello", id="a fragmented message is one message"),
        pytest.param(other_channels_and_pings, b"hello", id="pings, empty data and other channels carry nothing"),
        pytest.param(data_that_looks_like_a_greeting, NUMBER + b"hello", id="only the first frame is skipped"),
    ],
)
def test_frames_of_the_pod_become_bytes(script: Script, expected: bytes) -> None:
    with forward(script) as (opened, _), call(opened) as local:
        assert read_all(local) == expected


def test_an_error_of_the_pods_side_closes_the_local_connection() -> None:
    def fail(side: PodSide) -> None:
        side.greet()
        side.send(b"\1an error occurred forwarding 10001 -> 10001")
        side.wait_for_end()

    with forward(fail) as (opened, _), call(opened) as local:
        assert read_all(local) == b""


def test_a_close_frame_of_the_pods_side_closes_the_local_connection() -> None:
    def say_goodbye(side: PodSide) -> None:
        side.greet()
        side.send(b"\0bye")
        side.send(struct.pack("!H", 1000), opcode=8)
        side.wait_for_end()

    with forward(say_goodbye) as (opened, _), call(opened) as local:
        assert read_all(local) == b"bye"


def test_each_connection_goes_where_the_pod_is_now() -> None:
    names = iter(["head-1", "head-2"])
    with forward(echo, lambda: next(names)) as (opened, pods):
        for _ in range(2):
            with dial(opened) as local:
                local.sendall(b"x")
                assert local.recv(1) == b"x"
    assert pods.asked == [("ns", "head-1", PORT), ("ns", "head-2", PORT)]


def test_each_port_has_its_own_local_port() -> None:
    pods = Pods(echo)
    with PortForward(pods, "ns", lambda: "head", (PORT, 8265)) as opened:
        assert opened.local_port(PORT) != opened.local_port(8265)
        with socket.create_connection(("127.0.0.1", opened.local_port(8265)), timeout=LONG_SECONDS) as local:
            local.sendall(b"x")
            assert local.recv(1) == b"x"
    pods.end()
    assert pods.asked == [("ns", "head", 8265)]


FORBIDDEN = ForbiddenError("create", "pods/portforward", "ns", "head", 403, "no")


@pytest.mark.parametrize(
    "error",
    [pytest.param(FORBIDDEN, id="the API server refuses"), pytest.param(OSError("gone"), id="it is not reached")],
)
def test_a_stream_that_cannot_be_opened_closes_that_connection_alone(error: Exception) -> None:
    failures = iter([error])

    def find_pod() -> str:
        for failure in failures:
            raise failure
        return "head"

    with forward(echo, find_pod) as (opened, _):
        with call(opened) as refused:
            assert read_all(refused) == b""
        with dial(opened) as local:
            local.sendall(b"x")
            assert local.recv(1) == b"x"


GONE = NotFoundError("create", "pods/portforward", "ns", "head", 404, 'pods "head" not found')
OF_A_PROXY = NotFoundError("create", "pods/portforward", "ns", "head", 404, "no such route")


@pytest.mark.parametrize(
    ("error", "missing"),
    [
        pytest.param(GONE, "head", id="the API server does not have the pod"),
        pytest.param(OF_A_PROXY, None, id="something between answers 404"),
        pytest.param(FORBIDDEN, None, id="the API server refuses"),
    ],
)
def test_a_pod_that_is_gone_is_known_until_a_connection_finds_another(error: Exception, missing: str | None) -> None:
    class PodsThatGo(Pods):
        @override
        def open_stream(self, namespace: str, pod: str, port: int, timeout_seconds: float) -> WebSocket:
            if pod == "head":
                raise error
            return super().open_stream(namespace, pod, port, timeout_seconds)

    names, pods = ["head"], PodsThatGo(echo)
    with PortForward(pods, "ns", lambda: names[-1], (PORT,)) as opened:
        with call(opened) as refused:
            assert read_all(refused) == b""
        assert opened.missing_pod == missing
        names.append("next-head")
        with dial(opened) as local:
            local.sendall(b"x")
            assert local.recv(1) == b"x"
        assert opened.missing_pod is None
    pods.end()


def test_a_head_without_a_name_is_not_asked_for() -> None:
    with forward(echo, lambda: "") as (opened, pods), call(opened) as refused:
        assert read_all(refused) == b""
        assert pods.asked == []


def test_a_client_that_ends_its_half_still_gets_the_answer() -> None:
    client_ended = threading.Event()

    def answer_late(side: PodSide) -> None:
        side.greet()
        assert side.data() == b"question"
        assert client_ended.wait(LONG_SECONDS)
        for part in (b"\0the ", b"\0whole ", b"\0answer"):
            side.send(part)

    with forward(answer_late) as (opened, _), dial(opened) as local:
        local.sendall(b"question")
        local.shutdown(socket.SHUT_WR)
        client_ended.set()
        assert read_all(local) == b"the whole answer"


def test_after_the_clients_end_a_silent_pod_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port_forward, "_REST_SECONDS", 0.05)
    left = threading.Event()

    def stay_silent(side: PodSide) -> None:
        greet_and_wait(side)
        left.set()

    with forward(stay_silent) as (opened, _):
        with dial(opened) as local:
            local.sendall(b"x")
        assert left.wait(LONG_SECONDS)


def test_a_connection_that_sends_nothing_opens_no_stream() -> None:
    with forward(echo) as (opened, pods):
        dial(opened).close()
        with call(opened) as local:
            assert local.recv(1) == b"?"
        assert len(pods.asked) == 1


def test_close_ends_connections_and_threads() -> None:
    greeted, left = threading.Semaphore(0), threading.Semaphore(0)

    def stay(side: PodSide) -> None:
        side.greet()
        side.data()
        greeted.release()
        side.wait_for_end()
        left.release()

    with forward(stay) as (opened, _), dial(opened) as one, dial(opened) as two:
        for local in (one, two):
            local.sendall(b"x")
            assert greeted.acquire(timeout=LONG_SECONDS)
        two.shutdown(socket.SHUT_WR)
        opened.close()
        assert (read_all(one), read_all(two)) == (b"", b"")
        for _ in range(2):
            assert left.acquire(timeout=LONG_SECONDS)
        with pytest.raises(ConnectionRefusedError):
            dial(opened)
        opened.close()


def test_close_ends_a_connection_that_neither_side_reads() -> None:
    stuffed = threading.Event()

    def send_without_reading(side: PodSide) -> None:
        side.greet()
        side.data()
        stuffed.set()
        while True:
            side.send(b"\0" + bytes(65536))

    with forward(send_without_reading) as (opened, _), dial(opened) as local:
        local.sendall(b"x")
        assert stuffed.wait(LONG_SECONDS)
        local.settimeout(SHORT_SECONDS)
        with contextlib.suppress(TimeoutError):
            local.sendall(bytes(50_000_000))
        opened.close()
        assert [thread.name for thread in threading.enumerate() if "port-forward" in thread.name] == []


def test_close_ends_a_connection_whose_stream_is_being_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port_forward, "_JOIN_SECONDS", 0.05)
    asked, may_go_on = threading.Event(), threading.Event()

    def find_pod() -> str:
        asked.set()
        assert may_go_on.wait(LONG_SECONDS)
        return "head"

    with forward(greet_and_wait, find_pod) as (opened, _), call(opened) as local:
        assert asked.wait(LONG_SECONDS)
        opened.close()
        assert read_all(local) == b""
        carrying = [thread for thread in threading.enumerate() if "port-forward" in thread.name]
        may_go_on.set()
        for thread in carrying:
            thread.join(LONG_SECONDS)


def answer_http2(side: PodSide) -> None:
    side.greet()
    assert side.data() == b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SETTINGS
    side.send(b"\0" + SETTINGS)
    side.wait_for_end()


def answer_http2_in_pieces(side: PodSide) -> None:
    side.greet()
    for byte in SETTINGS:
        side.send(bytes([0, byte]))
    side.wait_for_end()


def answer_http1(side: PodSide) -> None:
    side.greet()
    side.data()
    side.send(b"\0HTTP/1.1 400 Bad Request\r\n\r\n")


def fail_to_connect(side: PodSide) -> None:
    side.greet()
    side.send(b"\1connection refused")
    side.wait_for_end()


def end_at_once(side: PodSide) -> None:
    side.greet()


@pytest.mark.parametrize(
    ("script", "seconds", "expected"),
    [
        pytest.param(answer_http2, LONG_SECONDS, True, id="a settings frame is accepted"),
        pytest.param(answer_http2_in_pieces, LONG_SECONDS, True, id="a settings frame in pieces is accepted"),
        pytest.param(answer_http1, LONG_SECONDS, False, id="an http1 answer is not"),
        pytest.param(fail_to_connect, LONG_SECONDS, False, id="an error of the pod's side is not"),
        pytest.param(end_at_once, LONG_SECONDS, False, id="an end is not"),
        pytest.param(greet_and_wait, SHORT_SECONDS, False, id="silence is not"),
    ],
)
def test_a_pod_accepts_when_it_answers_as_grpc_does(script: Script, seconds: float, expected: bool) -> None:
    with forward(script) as (opened, _):
        assert opened.accepts(PORT, seconds) is expected


def settings_then_echo(side: PodSide) -> None:
    side.greet()
    side.send(b"\0" + SETTINGS)
    while True:
        side.send(b"\0" + side.data())


def test_the_stream_of_a_pod_that_speaks_first_carries_the_next_connection() -> None:
    with forward(settings_then_echo) as (opened, pods):
        assert opened.accepts(PORT, LONG_SECONDS)
        for _ in range(2):
            with call(opened) as local:
                assert local.recv(len(SETTINGS), socket.MSG_WAITALL) == SETTINGS
                assert local.recv(1) == b"?"
        assert len(pods.asked) == 2


@pytest.mark.parametrize("cause", ["the head was replaced", "it has waited for long"])
def test_a_stream_that_is_no_good_any_more_is_not_used(cause: str, monkeypatch: pytest.MonkeyPatch) -> None:
    names, left = ["head-1"], threading.Event()

    def speak(side: PodSide) -> None:
        side.greet()
        side.send(b"\0" + SETTINGS)
        side.wait_for_end()
        left.set()

    if cause == "it has waited for long":
        monkeypatch.setattr(port_forward, "_SPARE_SECONDS", 0.0)
    with forward(speak, lambda: names[-1]) as (opened, pods):
        assert opened.accepts(PORT, LONG_SECONDS)
        names.append("head-2" if cause == "the head was replaced" else "head-1")
        with call(opened) as local:
            assert local.recv(len(SETTINGS), socket.MSG_WAITALL) == SETTINGS
            assert left.wait(LONG_SECONDS)
        assert [pod for _, pod, _ in pods.asked] == ["head-1", names[-1]]


def test_close_ends_a_stream_that_waits_for_a_connection() -> None:
    left = threading.Event()

    def speak(side: PodSide) -> None:
        settings_then_wait(side)
        left.set()

    with forward(speak) as (opened, _):
        assert opened.accepts(PORT, LONG_SECONDS)
        assert not left.is_set()
        opened.close()
        assert left.wait(LONG_SECONDS)


def settings_then_wait(side: PodSide) -> None:
    side.greet()
    side.send(b"\0" + SETTINGS)
    side.wait_for_end()


def test_a_pod_without_a_stream_does_not_accept() -> None:
    def find_pod() -> str:
        raise OSError("gone")

    with forward(echo, find_pod) as (opened, _):
        assert not opened.accepts(PORT, LONG_SECONDS)


def test_a_missing_right_is_told() -> None:
    """No other try will change it."""

    def find_pod() -> str:
        raise FORBIDDEN

    with forward(echo, find_pod) as (opened, _), pytest.raises(ForbiddenError):
        opened.accepts(PORT, LONG_SECONDS)


def test_close_ends_a_question_to_the_pod() -> None:
    asked = threading.Event()

    def stay(side: PodSide) -> None:
        side.greet()
        side.data()
        asked.set()
        side.wait_for_end()

    with forward(stay) as (opened, _), ThreadPoolExecutor(1) as pool:
        answer = pool.submit(opened.accepts, PORT, 10 * LONG_SECONDS)
        assert asked.wait(LONG_SECONDS)
        opened.close()
        assert answer.result(LONG_SECONDS) is False


class Upper(grpc.GenericRpcHandler):
    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes]":
        def upper(request: bytes, context: grpc.ServicerContext) -> bytes:
            return request.upper()

        return grpc.unary_unary_rpc_method_handler(upper)


def bridge_to(port: int) -> Script:
    def bridge(side: PodSide) -> None:
        def back() -> None:
            with contextlib.suppress(OSError):
                while data := target.recv(65536):
                    side.send(b"\0" + data)

        side.greet()
        with socket.create_connection(("127.0.0.1", port)) as target:
            thread = threading.Thread(target=back)
            thread.start()
            try:
                while True:
                    target.sendall(side.data())
            finally:
                with contextlib.suppress(OSError):
                    target.shutdown(socket.SHUT_RDWR)
                thread.join()

    return bridge


def test_a_real_grpc_server_is_found_and_called() -> None:
    payload = b"abc" * 300_000
    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool, handlers=[Upper()])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            with forward(bridge_to(port)) as (opened, _):
                assert opened.accepts(PORT, LONG_SECONDS)
                with grpc.insecure_channel(f"127.0.0.1:{opened.local_port(PORT)}") as channel:
                    call = channel.unary_unary("/any/upper")
                    assert call(payload, timeout=LONG_SECONDS) == payload.upper()
        finally:
            server.stop(None).wait()
