"""How many calls per second does one event loop await, and how late does it get meanwhile?

Interleaved in one run. Threads: `gather` of `pool.run(noop)` beside `gather` of `loop.run_in_executor` with the
standard library's pool. Coroutines: all submitted to a `CoroutinePool` on the running loop, beside `gather` with a
semaphore, and aiometer. Lag: how late a task that sleeps for a millisecond wakes up while calls pass through a pool
whose queue is full all the time (bar: p99 5 ms).
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from statistics import median, quantiles

import aiometer
from report import header, row

from millhand import CoroutinePool, ThreadPool

WORKERS = 10
AT_ONCE = 100


def noop(_: object = None) -> None:
    pass


async def anoop(_: object = None) -> None:
    pass


async def ours_threads(n: int) -> None:
    with ThreadPool(WORKERS) as pool:
        await asyncio.gather(*(pool.run(noop) for _ in range(n)))


async def stdlib_threads(n: int) -> None:
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(WORKERS) as pool:
        await asyncio.gather(*(loop.run_in_executor(pool, noop) for _ in range(n)))


async def ours_coroutines(n: int) -> None:
    async with CoroutinePool(AT_ONCE) as pool:
        futures = [pool.submit(anoop) for _ in range(n)]
    for future in futures:
        future.result()


async def semaphore(n: int) -> None:
    places = asyncio.Semaphore(AT_ONCE)

    async def call() -> None:
        async with places:
            await anoop()

    await asyncio.gather(*(call() for _ in range(n)))


async def aiometer_run_all(n: int) -> None:
    await aiometer.run_all([anoop] * n, max_at_once=AT_ONCE)


def calls_per_second(work: Callable[[int], Awaitable[None]], n: int) -> float:
    gc.collect()

    async def timed() -> float:
        began = time.perf_counter()
        await work(n)
        return n / (time.perf_counter() - began)

    return asyncio.run(timed())


def compare(
    bar: float,
    ours: tuple[str, Callable[[int], Awaitable[None]], int],
    *peers: tuple[str, Callable[[int], Awaitable[None]], int],
    rounds: int,
) -> None:
    everybody = (ours, *peers)
    figures: dict[str, list[float]] = {name: [] for name, _, _ in everybody}
    for _ in range(rounds):
        for name, work, n in everybody:
            figures[name].append(calls_per_second(work, n))
    for name, values in figures.items():
        row(name, values, "/s")
    for name, _, _ in peers:
        print(f"{f'  ratio to {name}':<44} {median(figures[ours[0]]) / median(figures[name]):>12.1f} (bar {bar:g})")


async def lags(pool: ThreadPool | CoroutinePool, fn: Callable[..., object], n: int) -> list[float]:
    late: list[float] = []

    async def tick() -> None:
        while True:
            due = time.perf_counter() + 0.001
            await asyncio.sleep(0.001)
            late.append((time.perf_counter() - due) * 1_000)

    ticker = asyncio.create_task(tick())
    async for _ in pool.amap(fn, range(n), buffersize=1_000):
        pass
    ticker.cancel()
    return late


def show_lag(name: str, late: list[float]) -> None:
    cuts = quantiles(late, n=100)
    print(f"{name:<44} p50 {cuts[49]:6.2f} ms   p99 {cuts[98]:6.2f}   max {max(late):6.2f}   ({len(late)} looks)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    header((__doc__ or "").splitlines()[0])
    n, rounds = options.calls, options.rounds
    compare(3, ("pool.run on 10 threads", ours_threads, n), ("run_in_executor", stdlib_threads, n), rounds=rounds)
    compare(
        3,
        ("CoroutinePool.submit, 100 at once", ours_coroutines, n),
        ("gather with a semaphore", semaphore, n),
        ("aiometer.run_all (bar 10)", aiometer_run_all, n // 5),
        rounds=rounds,
    )

    async def through(make: Callable[[], ThreadPool], fn: Callable[..., object]) -> list[float]:
        with make() as pool:
            return await lags(pool, fn, n)

    async def through_coroutines() -> list[float]:
        async with CoroutinePool(AT_ONCE, queue_size=100) as pool:
            return await lags(pool, anoop, n)

    show_lag(
        "lag, amap on 10 threads, queue_size=100",
        asyncio.run(through(partial(ThreadPool, WORKERS, queue_size=100), noop)),
    )
    show_lag("lag, amap on coroutines, queue_size=100", asyncio.run(through_coroutines()))


if __name__ == "__main__":
    main()
