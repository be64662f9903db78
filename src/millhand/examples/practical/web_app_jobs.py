"""A web app that answers at once and works later: jobs are kept in a file, so that a restart loses none.

The app only submits and reads. A runner does the work: here in the same program, in production `millhand run`.

Prints:

    POST for Ada: kept, pending, None, attempt 0
    POST for Bob: kept, pending, None, attempt 0
    a runner comes
    GET for Ada: completed, "report for Ada", attempt 1
    GET for Bob: failed, LookupError: nobody is called Bob, attempt 2
"""

from __future__ import annotations

from tempfile import TemporaryDirectory

from millhand.examples.loopback import Site, browse, serve
from millhand.jobs import Jobs
from millhand.policy import Backoff, Retry
from millhand.runner import Runner


def app(jobs: Jobs) -> type[Site]:
    """Return the app: `POST` submits, `GET /ID` reads."""

    @jobs.register(max_attempts=2, retry=Retry(backoff=Backoff(base=0.01)))
    def write_report(name: str) -> str:
        if name != "Ada":
            raise LookupError(f"nobody is called {name}")
        return f"report for {name}"  # after a minute of work, in a real app

    class App(Site):
        def post(self) -> None:
            self.answer(202, jobs.submit(write_report, self.body.decode()).id.encode())  # it is on disk

        def get(self) -> None:
            job = jobs.handle(self.path.removeprefix("/")).read()
            outcome = f"{job.error.type}: {job.error.message}" if job.error else job.result
            self.answer(200, f"{job.state}, {outcome}, attempt {job.attempt}".encode())

    return App


def main() -> None:
    """Be the browser."""
    with TemporaryDirectory() as folder, Jobs(f"sqlite:///{folder}/work.db") as jobs, serve(app(jobs)) as base:
        ids = {name: browse(base, name.encode()) for name in ("Ada", "Bob")}
        for name, id in ids.items():
            print(f"POST for {name}: kept, {browse(f'{base}/{id}')}")
        print("a runner comes")
        with Runner(jobs, workers=2):
            for name, id in ids.items():
                jobs.watch.wait(id, timeout=10)
                print(f"GET for {name}: {browse(f'{base}/{id}')}")


if __name__ == "__main__":
    main()
