"""Counting requests, cheaply, and telling it in Prometheus's words when asked.

Reference:
    millhand_jobs{state}                     gauge      jobs in the store by state
    millhand_stale_finishes_rejected_total   counter    finishes refused because the job belonged to somebody else
    millhand_http_requests_total{route,status}   counter
    millhand_http_request_seconds{route}     histogram  from the request's headers to its answer
    millhand_intake_batch                    histogram  jobs in one enqueue
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from millhand.core.job import JobState

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class Histogram:
    """How often a value fell into each bucket; noting one costs two list operations."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def note(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def tell(self) -> tuple[list[tuple[str, float]], float]:
        """Return (upper bound, how many were not above it) for each bucket, and the sum of all values."""
        told, total = [], 0
        for bound, count in zip([*map(str, self._bounds), "+Inf"], self._counts, strict=True):
            total += count
            told.append((bound, float(total)))
        return told, self._sum


class RouteMetrics:
    """One route's answers by status, and how long they took."""

    __slots__ = ("answers", "seconds")

    def __init__(self) -> None:
        self.answers: Counter[int] = Counter()
        self.seconds = Histogram(SECONDS)

    def note(self, status: int, seconds: float) -> None:
        """Count an answer."""
        self.answers[status] += 1
        self.seconds.note(seconds)


class Metrics(Collector):
    """All that a server counts. Noting happens on the loop, telling anywhere: a torn read is off by one request."""

    def __init__(self) -> None:
        self._routes: dict[str, RouteMetrics] = {}
        self.batches = Histogram(SIZES)

    def route(self, name: str) -> RouteMetrics:
        """Return the counters of a route, new ones at first sight; names must be few."""
        return self._routes.get(name) or self._routes.setdefault(name, RouteMetrics())

    def collect(self) -> Iterator[Metric]:
        """Yield the families that this process counts itself."""
        requests = CounterMetricFamily("millhand_http_requests", "Answers given", labels=["route", "status"])
        seconds = HistogramMetricFamily("millhand_http_request_seconds", "From headers to answer", labels=["route"])
        for name, route in list(self._routes.items()):
            for status, count in list(route.answers.items()):
                requests.add_metric([name, str(status)], count)
            buckets, total = route.seconds.tell()
            seconds.add_metric([name], buckets, total)
        yield requests
        yield seconds
        buckets, total = self.batches.tell()
        yield HistogramMetricFamily("millhand_intake_batch", "Jobs in one enqueue", buckets=buckets, sum_value=total)


class StoreMetrics(Collector):
    """What the store counts, as it was when read."""

    def __init__(self, counts: Mapping[JobState, int], totals: Mapping[str, int]) -> None:
        self._counts, self._totals = counts, totals

    def collect(self) -> Iterator[Metric]:
        """Yield the families that come from the store."""
        jobs = GaugeMetricFamily("millhand_jobs", "Jobs in the store", labels=["state"])
        for state in JobState:
            jobs.add_metric([state.value], self._counts.get(state, 0))
        yield jobs
        yield CounterMetricFamily(
            "millhand_stale_finishes_rejected",
            "Finishes refused because the job belonged to somebody else",
            value=self._totals.get("stale_finishes_rejected", 0),
        )


def expose(collectors: Sequence[Collector], accept: str) -> tuple[bytes, str]:
    """Return the text and its content type: OpenMetrics if the client takes it, else Prometheus's own format."""
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    encoder, content_type = choose_encoder(accept)
    return encoder(registry), content_type
