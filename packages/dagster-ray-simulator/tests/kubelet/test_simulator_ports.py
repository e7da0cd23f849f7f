"""Ports of simulated nodes: nobody else gets them, as long as they are held."""

import contextlib
import socket

import pytest

from dagster_ray.simulator._kubelet import ports
from dagster_ray.simulator._kubelet.ports import BLOCK, PortBlock, range_end
from dagster_ray.simulator._kubelet.relay import NoPodAddressError, PodAddress


@pytest.mark.parametrize(
    ("text", "end"),
    [("32768\t60999\n", 32_768), ("20000 65535", 20_000), (None, 32_768), ("1024 65535", 32_768)],
)
def test_the_systems_own_range_is_left_alone(text: str | None, end: int) -> None:
    assert range_end(text) == end


def test_blocks_are_disjoint_and_usable() -> None:
    with contextlib.ExitStack() as held:
        blocks = [held.enter_context(PortBlock(7)) for _ in range(50)]
        ports = [port for block in blocks for port in block.ports]
        assert len(set(ports)) == 350
        for port in blocks[0].ports:
            listener = held.enter_context(socket.socket())
            listener.bind(("127.0.0.1", port))


@pytest.fixture
def two_blocks(monkeypatch: pytest.MonkeyPatch) -> int:
    """Leave room for two blocks only; return where they begin."""
    with PortBlock(1) as found:
        first = found.ports[0] - 1
    first -= BLOCK if first + 2 * BLOCK > 32_000 else 0
    monkeypatch.setattr(ports, "_FIRST", first)
    monkeypatch.setattr(ports, "range_end", lambda _text: first + 3 * BLOCK)  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    return first


def test_a_block_whose_port_is_in_use_is_passed_over(two_blocks: int) -> None:
    with socket.socket() as somebody:
        somebody.bind(("127.0.0.1", two_blocks + 3))
        with PortBlock(4) as found:
            assert found.ports[0] == two_blocks + BLOCK + 1
            with pytest.raises(OSError, match="no block"):
                PortBlock(4)


def test_a_closed_block_is_free_again(two_blocks: int) -> None:
    for _ in range(4):
        with PortBlock(1), PortBlock(1), pytest.raises(OSError, match="no block"):
            PortBlock(1)
    assert two_blocks > 0


def test_a_block_has_a_guard() -> None:
    with pytest.raises(ValueError, match="1 to 7 ports, not 8"):
        PortBlock(8)


def test_a_port_that_is_taken_on_all_addresses_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))  # as the agent of a Ray does that somebody has started
        taken.listen()
        with pytest.raises(NoPodAddressError, match=f"all addresses may have port {taken.getsockname()[1]} "):
            PodAddress((taken.getsockname()[1],))
