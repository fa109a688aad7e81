"""What all tests share: the gateway as a process, and in the test's own process."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support.azurite import azurite  # noqa: F401  (a fixture)
from tests.support.local import Local, local_gateway

# A busy machine is no defect: nothing here depends on how long an example takes.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")


@pytest.fixture
async def local(tmp_path: Path) -> AsyncIterator[Local]:
    async with local_gateway(tmp_path) as gateway:
        yield gateway
