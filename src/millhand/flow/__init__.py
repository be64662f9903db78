"""Work in shapes, on any pool: stages in a row, one to many and back, small calls gathered into big ones."""

from millhand.core.errors import StageError, WrongBatch
from millhand.flow.batch import Batcher
from millhand.flow.fan import (
    afirst,
    agather,
    ahedged,
    aquorum,
    areduce,
    ascatter,
    first,
    gather,
    hedged,
    quorum,
    reduce,
    rendezvous,
    scatter,
)
from millhand.flow.pipeline import Pipeline, Run, Stage, stage
from millhand.flow.station import StageStats

__all__ = [
    "Batcher",
    "Pipeline",
    "Run",
    "Stage",
    "StageError",
    "StageStats",
    "WrongBatch",
    "afirst",
    "agather",
    "ahedged",
    "aquorum",
    "areduce",
    "ascatter",
    "first",
    "gather",
    "hedged",
    "quorum",
    "reduce",
    "rendezvous",
    "scatter",
    "stage",
]
