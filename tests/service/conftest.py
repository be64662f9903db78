"""One service for all tests of a module that only ask it for work."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.service.service import Service


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Serve the demo jobs with the default settings."""
    with Service(tmp_path_factory.mktemp("service")) as service:
        yield service
