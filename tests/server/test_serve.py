"""Serving on a real socket: start, shutdown, requests in flight, bodies that lie."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
import uvloop

from millhand.jobs import Jobs
from millhand.server import HttpService, ServerSettings, build_app, serve, tune_process
from tests.server.face import Gate, StubbornJobs

BODY = b'{"type":"double","payload":{"n":1}}'
SUBMIT = b"POST /jobs HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)


def run(work: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)


@contextlib.asynccontextmanager
async def serving(jobs: Any, **settings: Any) -> AsyncIterator[HttpService]:
    service = HttpService(build_app(jobs, ServerSettings(**settings)), "127.0.0.1", 0)
    await service.start()
    try:
        yield service
    finally:
        await service.stop()


class Wire:
    """A connection that speaks raw HTTP."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def to(cls, service: HttpService, data: bytes = b"") -> Wire:
        wire = cls(*await asyncio.open_connection("127.0.0.1", service.port))
        wire.writer.write(data)
        return wire

    async def answer(self) -> tuple[int, bytes]:
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        return int(head.split(b" ", 2)[1]), head + await self.reader.readexactly(length)

    async def hang_up(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


async def until(true: Callable[[], object]) -> None:
    while not true():
        await asyncio.sleep(0.001)


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


def test_a_submitted_job_comes_back_over_a_real_socket(jobs: Jobs) -> None:
    async def talk() -> None:
        async with serving(jobs) as service:
            wire = await Wire.to(service, SUBMIT)
            status, answer = await wire.answer()
            location = answer.split(b"location: ")[1].split(b"\r\n")[0].decode()
            wire.writer.write(get(location))
            assert (status, (await wire.answer())[0]) == (202, 200)
            await wire.hang_up()

    run(talk())


def test_serve_tells_the_real_port_once_it_accepts_and_returns_after_stop(jobs: Jobs) -> None:
    async def talk() -> None:
        stop, ports = asyncio.Event(), asyncio.Queue[int]()
        app = build_app(jobs)
        serving = asyncio.create_task(serve(app, "127.0.0.1", 0, on_ready=ports.put_nowait, stop=stop))
        port = await ports.get()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(get("/livez"))
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        stop.set()
        await serving
        writer.close()

    run(talk())


def test_a_taken_port_is_one_clear_error(jobs: Jobs) -> None:
    async def talk() -> None:
        async with serving(jobs) as service:
            second = HttpService(build_app(jobs), "127.0.0.1", service.port)
            with pytest.raises(OSError, match=rf"cannot listen on 127\.0\.0\.1:{service.port}.*choose another port"):
                await second.start()
            await second.stop()

    run(talk())


def test_an_ipv6_address_can_be_listened_on(jobs: Jobs) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")

    async def talk() -> None:
        service = HttpService(build_app(jobs), "::1", 0)
        await service.start()
        await service.stop()

    run(talk())


def test_starting_a_server_leaves_the_process_s_log_handlers_alone(jobs: Jobs) -> None:
    closed: list[str] = []

    class Handler(logging.NullHandler):
        def close(self) -> None:
            closed.append("closed")

    handler = Handler()
    logging.getLogger("millhand.test").addHandler(handler)

    async def talk() -> None:
        async with serving(jobs):
            pass

    run(talk())
    logging.getLogger("millhand.test").removeHandler(handler)
    assert closed == []


def test_starting_and_stopping_prints_nothing(jobs: Jobs, capfd: pytest.CaptureFixture[str]) -> None:
    async def talk() -> None:
        async with serving(jobs):
            pass

    run(talk())
    assert capfd.readouterr() == ("", "")


def test_a_submit_in_flight_at_the_stop_is_answered_after_its_commit(jobs: Jobs) -> None:
    gate = Gate(jobs.store.intake.enqueue)

    async def talk() -> None:
        async with serving(StubbornJobs(jobs, intake={"enqueue": gate.enqueue})) as service:
            wire = await Wire.to(service, SUBMIT)
            await until(gate.reached.is_set)
            stopping = asyncio.create_task(service.stop())
            await until(lambda: refuses(service.port))
            assert not stopping.done()
            gate.opened.set()
            assert (await wire.answer())[0] == 202
            await stopping
            await wire.hang_up()

    run(talk())


def test_a_submit_whose_client_left_is_still_finished_before_the_server_is(jobs: Jobs) -> None:
    gate = Gate(jobs.store.intake.enqueue)

    async def talk() -> None:
        async with serving(StubbornJobs(jobs, intake={"enqueue": gate.enqueue})) as service:
            wire = await Wire.to(service, SUBMIT)
            await until(gate.reached.is_set)
            await wire.hang_up()
            stopping = asyncio.create_task(service.stop())
            await until(lambda: refuses(service.port))
            gate.opened.set()
            await stopping

    run(talk())
    assert sum(jobs.store.reading.counts().values()) == 1


def test_a_body_still_arriving_at_the_stop_is_read_to_its_end(jobs: Jobs) -> None:
    async def talk() -> None:
        async with serving(jobs) as service:
            wire = await Wire.to(service, SUBMIT[:-5])
            await until(lambda: service.in_flight)
            stopping = asyncio.create_task(service.stop())
            await until(lambda: refuses(service.port))
            wire.writer.write(SUBMIT[-5:])
            assert (await wire.answer())[0] == 202
            await stopping
            await wire.hang_up()

    run(talk())


def test_an_idle_connection_does_not_hold_the_stop_up(jobs: Jobs) -> None:
    async def talk() -> None:
        async with serving(jobs) as service:
            idle = await Wire.to(service, get("/livez"))
            await idle.answer()
            await asyncio.wait_for(service.stop(), 2)
            assert await idle.reader.read() == b""
            await idle.hang_up()

    run(talk())


def test_a_long_poll_is_answered_at_the_stop_with_the_state_as_it_is(jobs: Jobs) -> None:
    async def talk() -> None:
        async with serving(jobs) as service:
            wire = await Wire.to(service, SUBMIT)
            id = (await wire.answer())[1].split(b'"job_id":"')[1][:36].decode()
            wire.writer.write(get(f"/jobs/{id}?wait=60s"))
            await until(lambda: service.in_flight)
            await until(lambda: service.polls)
            stopping = asyncio.create_task(service.stop())
            status, answer = await wire.answer()
            assert (status, b'"state":"pending"' in answer) == (200, True)
            await stopping
            await wire.hang_up()

    run(talk())


def test_readyz_is_red_for_the_drain_delay_while_requests_are_still_taken(jobs: Jobs) -> None:
    async def talk() -> None:
        async with serving(jobs, drain_delay=0.1) as service:
            wire = await Wire.to(service)
            stopping = asyncio.create_task(service.stop())
            await asyncio.sleep(0)
            wire.writer.write(get("/readyz"))
            assert (await wire.answer())[0] == 503
            wire.writer.write(SUBMIT)
            assert (await wire.answer())[0] == 202
            await stopping
            await wire.hang_up()

    run(talk())


def test_a_second_stop_waits_for_the_first(jobs: Jobs) -> None:
    async def talk() -> None:
        async with serving(jobs) as service:
            await asyncio.gather(service.stop(), service.stop())

    run(talk())


@pytest.mark.slow
def test_a_client_that_sends_half_a_request_cannot_hold_the_stop_up_for_ever(jobs: Jobs) -> None:
    async def talk() -> None:
        async with serving(jobs, http_timeout=0.2) as service:
            headers = await Wire.to(service, b"GET /livez HT")
            body = await Wire.to(service, SUBMIT[:-5])
            await until(lambda: service.in_flight)
            await asyncio.wait_for(service.stop(), 5)
            await headers.hang_up()
            await body.hang_up()

    run(talk())


def test_a_body_that_never_completes_is_408_over_a_socket(jobs: Jobs) -> None:
    async def talk() -> None:
        async with serving(jobs, http_timeout=0.05) as service:
            wire = await Wire.to(service, SUBMIT[:-5])
            assert (await wire.answer())[0] == 408
            await wire.hang_up()

    run(talk())


@pytest.mark.parametrize(
    "request_",
    [
        b"POST /jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 101\r\n\r\n" + b"x" * 101,
        b"POST /jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\nx",
        b"POST /jobs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n" + b"x" * 101 + b"\r\n0\r\n\r\n",
    ],
    ids=["true length", "announced", "chunked"],
)
def test_a_body_too_large_is_413_over_a_socket(jobs: Jobs, request_: bytes) -> None:
    async def talk() -> None:
        async with serving(jobs, max_body=100) as service:
            wire = await Wire.to(service, request_)
            assert (await wire.answer())[0] == 413
            await wire.hang_up()

    run(talk())


def test_broken_chunks_are_400_or_a_closed_connection_and_the_server_lives(jobs: Jobs) -> None:
    async def talk() -> None:
        async with serving(jobs) as service:
            broken = b"POST /jobs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
            wire = await Wire.to(service, broken)
            answer = await wire.reader.read()
            assert answer == b"" or answer.startswith(b"HTTP/1.1 400")
            await wire.hang_up()
            other = await Wire.to(service, get("/livez"))
            assert (await other.answer())[0] == 200
            await other.hang_up()

    run(talk())


def test_pipelined_requests_are_answered_in_order(jobs: Jobs) -> None:
    async def talk() -> None:
        async with serving(jobs) as service:
            wire = await Wire.to(service, SUBMIT + get("/livez") + get("/nothing"))
            assert [(await wire.answer())[0] for _ in range(3)] == [202, 200, 404]
            await wire.hang_up()

    run(talk())


def test_tuning_a_process_pins_how_often_its_threads_take_turns() -> None:
    before = sys.getswitchinterval()
    try:
        sys.setswitchinterval(0.1)
        tune_process()
        assert sys.getswitchinterval() == pytest.approx(0.005)
    finally:
        sys.setswitchinterval(before)


def refuses(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) != 0
