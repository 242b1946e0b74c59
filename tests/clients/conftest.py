import json

import httpx
import pytest

from tests.service import Service


@pytest.fixture(scope="module")
def service():
    with Service(workers=1) as running:
        yield running


@pytest.fixture(scope="module")
def document(service, tmp_path_factory):
    """The OpenAPI document of the running service, as a file."""
    file = tmp_path_factory.mktemp("document") / "openapi.json"
    file.write_text(json.dumps(httpx.get(f"{service.url}/openapi.json").json()))
    return file
