"""The routes about jobs: submit, read, wait, list, cancel."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from millhand.core.clock import Seconds
from millhand.core.errors import BadArguments
from millhand.core.job import Job, JobState, NewJob
from millhand.jobs import JobOptions, Jobs
from millhand.jobs.store import Page
from millhand.server.answers import JSON, Answer, Receive, Scope, answer_json, encode
from millhand.server.body import read_body
from millhand.server.deadline import Deadline
from millhand.server.intake import IntakeDoor
from millhand.server.reads import Reads
from millhand.server.settings import ServerSettings
from millhand.wire import Accepted, AlreadyEnded, BadRequest, JobBody, JobList, MalformedBody, SubmitBody, read_duration

LONGEST_WAIT: Seconds = 60.0
LARGEST_PAGE = 200
_decode_submit = msgspec.json.Decoder(SubmitBody).decode


class JobRoutes:
    """These answer what clients ask about jobs. Errors are raised; the app turns them into problems."""

    def __init__(self, jobs: Jobs, settings: ServerSettings, intake: IntakeDoor, reads: Reads) -> None:
        self._jobs, self._settings = jobs, settings
        self._intake, self._reads = intake, reads

    async def submit(self, scope: Scope, receive: Receive, deadline: Deadline) -> Answer:
        """`POST /jobs`: keep a job; the answer comes after the commit."""
        deadline.reading = True
        body = await read_body(scope, receive, limit=self._settings.max_body)
        deadline.reading = False
        job = self._draft(body)
        await self._intake.keep(job)
        location = f"{scope.get('root_path', '')}/jobs/{job.id}".encode()
        return Answer(202, encode(Accepted(job.id)), (JSON, (b"location", location)))

    async def read(self, id: str) -> Answer:
        """`GET /jobs/{id}`: a job as it stands."""
        return answer_json(JobBody.of(await self._reads.job(id)))

    async def wait(self, request: Request) -> Response:
        """`GET /jobs/{id}?wait=10s`: a job once it has ended, or as it stands after the wait."""
        seconds = _wait_of(_query(request, {"wait"}))
        job = await self._reads.ended_job(
            request.path_params["id"], seconds, gone=lambda: asyncio.ensure_future(_left(request.receive))
        )
        return respond(JobBody.of(job))

    async def find(self, request: Request) -> Response:
        """`GET /jobs`: a page of jobs, newest first."""
        query = _query(request, {"state", "type", "cursor", "limit"})
        state, limit = _state_of(query), _limit_of(query)
        page = await self._reads.run(self._find, state, query.get("type"), query.get("cursor"), limit)
        return respond(JobList([JobBody.of(job) for job in page.jobs], page.next_cursor))

    async def cancel(self, request: Request) -> Response:
        """`POST /jobs/{id}/cancel`: end a waiting job, or ask a running one to stop."""
        job = await self._reads.run(self._cancel, request.path_params["id"])
        return respond(JobBody.of(job))

    def _find(self, state: JobState | None, type: str | None, cursor: str | None, limit: int) -> Page:
        return self._jobs.store.reading.find(state=state, type=type, cursor=cursor, limit=limit)

    def _draft(self, body: bytes) -> NewJob:
        try:
            wish = _decode_submit(body)
        except (UnicodeDecodeError, RecursionError) as error:
            raise MalformedBody(str(error)) from None
        payload = bytes(wish.payload) or None
        try:
            return self._jobs.draft(wish.type, payload, _options_of(wish))
        except (UnicodeDecodeError, RecursionError) as error:
            raise BadArguments(wish.type, str(error)) from None

    def _cancel(self, id: str) -> Job:
        before = self._jobs.store.reading.get(id)
        if before.state.is_end:
            raise AlreadyEnded(id, before.state)
        job = self._jobs.store.control.cancel(id)
        if job.state.is_end and job.state is not JobState.CANCELLED:
            raise AlreadyEnded(id, job.state)
        return job


def respond(value: object, status: int = 200) -> Response:
    """Return a Starlette response with this value as JSON."""
    return Response(encode(value), status, media_type="application/json")


def _options_of(wish: SubmitBody) -> JobOptions | None:
    if (wish.queue, wish.priority, wish.delay, wish.timeout, wish.max_attempts) == (None, None, None, None, None):
        return None
    given = {
        "queue": wish.queue,
        "priority": wish.priority,
        "delay": wish.delay_seconds(),
        "timeout": wish.timeout_seconds(),
        "max_attempts": wish.max_attempts,
    }
    return msgspec.convert({name: value for name, value in given.items() if value is not None}, JobOptions)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _query(request: Request, known: set[str]) -> Mapping[str, str]:
    query = dict(parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True))
    for name in query.keys() - known:
        raise BadRequest(f"there is no parameter {name!r} here; there is {', '.join(sorted(known))}", name)
    return query


def _wait_of(query: Mapping[str, str]) -> Seconds:
    return min(read_duration(query.get("wait", "0"), "wait"), LONGEST_WAIT)


def _state_of(query: Mapping[str, str]) -> JobState | None:
    state = query.get("state")
    try:
        return None if state is None else JobState(state)
    except ValueError:
        raise BadRequest(f"{state!r} is no state; states are {', '.join(JobState)}", "state") from None


def _limit_of(query: Mapping[str, str]) -> int:
    text = query.get("limit", "50")
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= LARGEST_PAGE):
        raise BadRequest(f"limit must be a whole number from 1 to {LARGEST_PAGE}, got {text!r}", "limit")
    return int(text)
