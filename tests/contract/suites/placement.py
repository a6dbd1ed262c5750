"""What every placement must do. An implementation's test module gives the fixture ``placement``: that of one
process, with no other process that wants the same objects."""

import asyncio

from coordinator.actor.placement import Placement


class PlacementContract:
    async def test_nobody_owns_what_was_never_asked_for(self, placement: Placement) -> None:
        assert not placement.owned(1)

    async def test_what_is_asked_for_is_owned(self, placement: Placement) -> None:
        await placement.own(1)
        assert placement.owned(1)
        assert not placement.owned(2)

    async def test_it_is_granted_again_to_who_has_it(self, placement: Placement) -> None:
        await placement.own(1)
        await placement.own(1)
        assert placement.owned(1)
        await placement.disown(1)
        assert not placement.owned(1), "it was owned once, however often it was asked for"

    async def test_what_was_given_up_can_be_had_again(self, placement: Placement) -> None:
        await placement.own(1)
        await placement.disown(1)
        await placement.own(1)
        assert placement.owned(1)

    async def test_giving_up_what_is_not_owned_is_fine(self, placement: Placement) -> None:
        await placement.disown(1)
        assert not placement.owned(1)

    async def test_many_at_once(self, placement: Placement) -> None:
        await asyncio.gather(*(placement.own(number % 10) for number in range(50)))
        assert all(placement.owned(number) for number in range(10))
