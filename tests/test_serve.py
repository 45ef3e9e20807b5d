"""Servers: who may connect, how much they may send, and a start and stop that leave nothing behind."""

import asyncio
import socket

import pytest

from posttrain.serve import BearerToken, BodyLimit, check_address, serving

starlette = pytest.importorskip("starlette.applications")
httpx = pytest.importorskip("httpx2")


def app(*layers):
    from starlette.middleware import Middleware
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    async def echo(request):
        return PlainTextResponse(str(len(await request.body())))

    return starlette.Starlette(
        routes=[Route("/", echo, methods=["GET", "POST"])], middleware=[Middleware(*layer) for layer in layers]
    )


async def ask(application, **options):
    async with serving(application) as port, httpx.AsyncClient(trust_env=False) as client:
        return await client.request("POST", f"http://127.0.0.1:{port}/", **options)


def test_a_token_opens_and_nothing_else_does():
    guarded = app((BearerToken, "secret"))
    assert asyncio.run(ask(guarded, headers={"Authorization": "Bearer secret"})).status_code == 200
    for wrong in (
        {},
        {"Authorization": "Bearer secre"},
        {"Authorization": "Basic secret"},
        {"Authorization": "secret"},
    ):
        assert asyncio.run(ask(guarded, headers=wrong)).status_code == 401


def test_a_body_up_to_the_limit_is_whole_and_a_longer_one_is_refused():
    limited = app((BodyLimit, 1000))
    assert asyncio.run(ask(limited, content=b"x" * 1000)).text == "1000"
    assert asyncio.run(ask(limited, content=b"x" * 1001)).status_code == 413

    async def pieces():
        for _ in range(11):
            yield b"x" * 100

    assert asyncio.run(ask(limited, content=pieces())).status_code == 413


@pytest.mark.parametrize(
    ("host", "token", "fine"),
    [
        ("127.0.0.1", None, True),
        ("::1", None, True),
        ("localhost", None, True),
        ("0.0.0.0", "t", True),
        ("0.0.0.0", None, False),
        ("10.0.0.1", "", False),
        ("example", "t", False),
    ],
)
def test_only_this_machine_connects_without_a_token(host, token, fine):
    if fine:
        check_address(host, token)
    else:
        with pytest.raises(ValueError, match="host="):
            check_address(host, token)


def test_a_port_that_is_taken_is_named():
    async def twice():
        async with serving(app()) as port, serving(app(), port=port):
            raise AssertionError

    with pytest.raises(OSError, match=r"127\.0\.0\.1:\d+ cannot be listened on .*; choose another port\."):
        asyncio.run(twice())


def test_small_pieces_are_sent_at_once():
    """The sockets that the server accepts have TCP_NODELAY, or answers would wait for an acknowledgement of 40 ms."""
    found = []

    class Watched(socket.socket):
        def accept(self):
            connection, address = super().accept()
            found.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            return connection, address

    make = socket.create_server

    def watched(*args, **kwargs):
        made = make(*args, **kwargs)
        return Watched(made.family, made.type, made.proto, fileno=made.detach())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "create_server", watched)
        asyncio.run(ask(app()))
    assert found
    assert all(found)


def test_a_port_is_free_again_afterwards():
    async def port():
        async with serving(app()) as found:
            return found

    found = asyncio.run(port())
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", found))
