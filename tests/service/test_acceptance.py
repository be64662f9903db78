"""The teaching text's acceptance loop, typed into a real shell."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from tests.service.service import Service, clean_environment

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (shutil.which("bash") and shutil.which("curl")), reason="needs bash and curl"),
]

LOOP = r"""for i in {1..10}; do curl -X POST http://localhost:PORT/jobs -H "Content-Type: application/json" \
  -d "{\"type\":\"job-$i\",\"payload\":{}}"; done"""


def shell(service, text):
    command = ["bash", "-euc", text.replace("PORT", str(service.port))]
    return subprocess.run(
        command, env=clean_environment(), capture_output=True, text=True, timeout=15, check=True
    ).stdout


def test_the_loop_submits_ten_jobs_and_all_are_completed(tmp_path):
    with Service(tmp_path) as service:
        said = shell(service, LOOP)

        ids = [json.loads(answer)["job_id"] for answer in said.replace("}{", "}\n{").splitlines()]
        for id in ids:
            service.wait_for(id)
        listed = json.loads(shell(service, "curl --silent http://localhost:PORT/jobs"))["jobs"]
    assert said.count('"status":"accepted"') == 10
    assert [job["id"] for job in reversed(listed)] == ids
    assert [job["result"] for job in reversed(listed)] == [f"job-{number} is done" for number in range(1, 11)]
    assert {job["state"] for job in listed} == {"completed"}


def test_the_line_that_the_service_prints_to_try_works_as_it_stands(service):
    line = service.wait_for_line("^try: ")

    said = shell(service, line.removeprefix("try: "))

    job = service.wait_for(said.split('"')[3])
    assert (job["type"], job["state"], job["result"]) == ("echo", "completed", "hello")
