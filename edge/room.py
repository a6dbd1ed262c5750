"""Whether an account has room for more files."""

from edge.auth import Principal
from edge.context import Edge
from edge.errors import Problem
from edge.quantities import about_size

RETRY_S = 60.0
"""What expires may have made room by then."""


async def need_room(edge: Edge, principal: Principal, more_bytes: int = 0) -> None:
    """Raises Problem ``storage_full`` when the account's files take all that they may, or would with so much
    more."""
    at_most = principal.storage_at_most
    if at_most is None:
        return
    use = (await edge.services.store.storage_use.get(principal.account)).total
    if use < at_most and use + more_bytes <= at_most:
        return
    detail = (
        f"The files of your account take {about_size(use)} of {about_size(at_most)}. Delete uploaded files "
        "(DELETE /v1/files/ID) or predictions (DELETE /v1/predictions/ID), or ask for more."
    )
    # Whoever repeats it by itself would only wait.
    headers = ((b"x-should-retry", b"false"),)
    raise Problem("storage_full", detail, retry_after_s=RETRY_S, headers=headers)
