"""The placements that there are, held to the contract."""

import pytest

from coordinator.actor.placement import LocalPlacement
from tests.contract.suites.placement import PlacementContract


class TestLocalPlacement(PlacementContract):
    @pytest.fixture
    def placement(self) -> LocalPlacement:
        return LocalPlacement()
