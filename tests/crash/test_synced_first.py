"""A `202` leaves the process only after the log of the database was synced to disk: seen from outside, by strace."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.service.service import Service

POSTS = 30

pytestmark = pytest.mark.skipif(
    shutil.which("strace") is None and not os.environ.get("CI"), reason="strace is not installed"
)


def test_a_sync_of_the_log_precedes_each_202(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    with Service(tmp_path, "--no-runner") as service:
        command = ["strace", "-f", "-yy", "-s", "32", "-o", str(trace)]
        calls = "-e", "trace=fsync,fdatasync,write,writev,sendto,sendmsg"
        tracer = subprocess.Popen([*command, *calls, "-p", str(service.http)], stderr=subprocess.PIPE, text=True)
        assert tracer.stderr is not None
        assert "attached" in tracer.stderr.readline()
        for n in range(POSTS):
            service.submit("echo", {"text": str(n)})
        tracer.send_signal(signal.SIGINT)
        tracer.wait(10)
        tracer.stderr.close()

    answers = synced = 0
    for line in trace.read_text(errors="replace").splitlines():
        if re.search(r"f(data)?sync\(\d+<[^>]*-wal>", line) or "sync resumed" in line:
            synced += 1
        elif "HTTP/1.1 202" in line:
            answers += 1
            assert synced >= 1, f"answer {answers} left before the log was synced: {line}"
            synced = 0
    assert answers == POSTS
