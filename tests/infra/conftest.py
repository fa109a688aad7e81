import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # bicep_parser and bicep_eval are for the tests of this folder alone

from bicep_eval import Deployment, deploy  # noqa: E402  (needs the path above)


@pytest.fixture(scope="session")
def root() -> Path:
    return HERE.parent.parent


@pytest.fixture(scope="session")
def infra(root: Path) -> Path:
    return root / "infra"


@pytest.fixture(scope="session")
def provision(infra: Path) -> Callable[..., Deployment]:
    """Evaluates main.bicep with the given parameters beside the two that have no default."""

    def run(**parameters: Any) -> Deployment:
        given = {"environmentName": "test", "location": "swedencentral", **parameters}
        return deploy(infra / "main.bicep", given)

    return run
