"""Removes what a prediction has left before its time, because its account asks for it."""

import logging

from coordinator.errors import Unavailable
from edge.context import Edge
from edge.errors import Problem
from edge.lookup import stored

log = logging.getLogger(__name__)


async def remove(edge: Edge, id: str, account: str) -> None:
    """Once this returns nobody is shown it any more, for good; its files are gone, unless storage does not
    answer: then they follow.

    Raises Problem ``not_found``, ``not_ended``, and Unavailable: then it may be repeated.
    """
    services = edge.services
    document = await stored(edge, id, account)
    if not document.status.terminal:
        path = f"/v1/predictions/{id}/cancel"
        detail = f"It has not ended yet. Cancel it first, by POST {path}, or wait for its end."
        raise Problem("not_ended", detail)
    now = services.clock.now()
    due = await services.store.expiry.expire(document.id, account, now)
    if due is None:
        # The index has not heard of its end yet; what it hears later is no news then.
        await services.store.index.upsert([document])
        due = await services.store.expiry.expire(document.id, account, now)
    services.projector.expired(document.id, now)
    if due is None:
        return
    try:
        await services.retention.remove([due])
    except Unavailable as error:
        log.warning("files of %s are not deleted yet: %s", document.id, error)
