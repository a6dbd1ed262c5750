"""One real object store for all tests of a run that need one."""

from collections.abc import Iterator

import pytest

from tests.support.seaweed import SeaweedFS


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    with SeaweedFS(tmp_path_factory.mktemp("seaweed")) as store:
        yield store
