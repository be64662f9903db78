"""The words on HTTP: the shapes that both ends share, and how an error becomes a status."""

from millhand.wire.bodies import Accepted, ErrorBody, JobBody, JobList, SubmitBody, iso, read_duration
from millhand.wire.errors import (
    AlreadyEnded,
    AnswerTooLate,
    BadRequest,
    BodyTooLarge,
    BodyTooSlow,
    MalformedBody,
    MethodNotAllowed,
    RouteNotFound,
)
from millhand.wire.problem import MEDIA_TYPE, TABLE, Problem, problem_of

__all__ = [
    "MEDIA_TYPE",
    "TABLE",
    "Accepted",
    "AlreadyEnded",
    "AnswerTooLate",
    "BadRequest",
    "BodyTooLarge",
    "BodyTooSlow",
    "ErrorBody",
    "JobBody",
    "JobList",
    "MalformedBody",
    "MethodNotAllowed",
    "Problem",
    "RouteNotFound",
    "SubmitBody",
    "iso",
    "problem_of",
    "read_duration",
]
