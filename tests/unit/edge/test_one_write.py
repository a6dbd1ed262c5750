"""Transports that hold what is written until more of it can go out at once."""

import asyncio
import socket

from edge.one_write import GATHERED_BYTES, Gathered, OneWrite

HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


async def _open() -> tuple[OneWrite, socket.socket]:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
    return OneWrite(transport), theirs


def _there(theirs: socket.socket) -> bytes:
    try:
        return theirs.recv(1 << 16)
    except BlockingIOError:
        return b""


async def test_a_head_alone_goes_at_the_end_of_the_turn() -> None:
    transport, theirs = await _open()
    with theirs:
        transport.write(HEAD)
        assert _there(theirs) == b""
        await asyncio.sleep(0)
        assert _there(theirs) == HEAD
        transport.write(b"more of a stream")
        assert _there(theirs) == b"more of a stream"
        transport.close()


async def test_the_second_write_takes_the_first_along() -> None:
    transport, theirs = await _open()
    with theirs:
        transport.write(HEAD)
        transport.write(b"body")
        assert _there(theirs) == HEAD + b"body"
        transport.write(b"third")
        transport.write(b"")
        assert _there(theirs) == b"third"
        await asyncio.sleep(0)
        assert _there(theirs) == b""
        transport.close()


async def test_nothing_is_left_behind_at_the_end_or_by_who_goes_on_without_it() -> None:
    transport, theirs = await _open()
    with theirs:
        transport.write(HEAD)
        transport.bare().write(b", second")
        transport.write(HEAD)
        transport.close()
        got = b""
        async with asyncio.timeout(5):
            while part := await asyncio.get_running_loop().sock_recv(theirs, 1 << 16):
                got += part
        assert got == HEAD + b", second" + HEAD
        assert transport.is_closing()


async def test_all_of_a_turn_goes_out_together_but_much_at_once() -> None:
    bare, theirs = await _open()
    transport = Gathered(bare.transport)
    with theirs:
        transport.write(b"one, ")
        transport.write(b"two")
        assert _there(theirs) == b""
        await asyncio.sleep(0)
        assert _there(theirs) == b"one, two"
        transport.write(b"." * GATHERED_BYTES)
        transport.write(b".")
        assert _there(theirs)
        transport.close()


async def test_what_a_turn_wrote_before_its_end_comes_before_the_end() -> None:
    bare, theirs = await _open()
    transport = Gathered(bare.transport)
    with theirs:
        transport.write(b"last words")
        transport.close()
        async with asyncio.timeout(5):
            assert await asyncio.get_running_loop().sock_recv(theirs, 1 << 16) == b"last words"
            assert await asyncio.get_running_loop().sock_recv(theirs, 1 << 16) == b""
