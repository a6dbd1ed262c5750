"""Which sessions are offered, without going through all of them."""

from types import SimpleNamespace

import pytest

from coordinator.book import Session
from coordinator.calls import SocketAddress
from coordinator.offers import Offers
from coordinator.protocol.limits import ServerLimits
from coordinator.scheduling.flow import Gpu
from coordinator.workers import Workers

A100 = Gpu("NVIDIA A100", 80 << 30)


@pytest.fixture
def workers() -> Workers:
    workers = Workers(ServerLimits())
    workers.turn = SimpleNamespace(now=0, write=lambda *_: None)  # type: ignore[assignment]
    return workers


@pytest.fixture
def offers(workers: Workers) -> Offers:
    return Offers(workers)


def session(offers: Offers, agent: str, version: str = "1", granted: int = 1, **fields: object) -> Session:
    made = Session(
        address=SocketAddress("gateway", agent),
        channel=3,
        agent=agent,
        agent_name=agent,
        incarnation="i",
        version=version,
        granted=granted,
        **fields,  # type: ignore[arg-type]
    )
    offers.update(made)
    return made


def names(sessions: list[Session]) -> list[str]:
    return sorted(session.agent for session in sessions)


def test_of_each_kind_the_warm_one_with_most_free_slots(offers: Offers) -> None:
    session(offers, "cold", granted=9, warm=False)
    session(offers, "small")
    large = session(offers, "large", granted=2)
    session(offers, "gpu", gpus=(A100,))
    session(offers, "other", version="2")
    assert names(offers.best()) == ["gpu", "large", "other"]
    assert names(offers.all()) == ["cold", "gpu", "large", "other", "small"]
    large.sent = 2
    offers.update(large)
    assert names(offers.best()) == ["gpu", "other", "small"]


def test_one_that_is_gone_is_not_offered(offers: Offers) -> None:
    one = session(offers, "one")
    offers.remove(one)
    offers.remove(one)
    assert offers.best() == []
    assert offers.all() == []


def test_one_that_is_leaving_is_not_offered(offers: Offers) -> None:
    one = session(offers, "one")
    one.leaving = True
    offers.update(one)
    assert offers.best() == []


def test_who_gets_no_work_is_set_aside_until_that_changes(offers: Offers, workers: Workers) -> None:
    session(offers, "drained", granted=5)
    session(offers, "good")
    workers.drain("drained", "drained", draining=True)
    assert names(offers.best()) == ["good"]
    assert names(offers.aside()) == ["drained"]
    assert names(offers.all()) == ["good"]
    workers.drain("drained", "drained", draining=False)
    assert names(offers.best()) == ["drained"]
    assert offers.aside() == []


def test_one_aside_that_is_gone_does_not_come_back(offers: Offers, workers: Workers) -> None:
    one = session(offers, "one")
    workers.distrust("one", "one", "it lies")
    assert names(offers.aside()) == ["one"]
    offers.remove(one)
    workers.release("one")
    assert offers.best() == []
