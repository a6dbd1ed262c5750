"""What is kept for an account: how much that is, and the removal of what a prediction has left."""

from litestar import delete, get
from litestar.types import ASGIApp

from coordinator.store.storage_use import Use
from edge.context import authorized, json_reply
from edge.lookup import find, own
from edge.removal import remove
from edge.replies import HTTPRequest, Reply
from edge.schemas import StorageOut


@delete("/v1/predictions/{id:str}", status_code=200, opt={"keys": True})
async def delete_prediction(request: HTTPRequest) -> ASGIApp:
    """Remove input, output, logs and files of a prediction that has ended, now. It stays in lists."""
    edge, principal = await authorized(request, "submit")
    if principal.maker is not None:
        own(principal, await find(edge, request.path_params["id"], principal.account))
    await remove(edge, request.path_params["id"], principal.account)
    return Reply(status=204)


@get("/v1/account/storage")
async def get_storage(request: HTTPRequest) -> ASGIApp:
    """How many bytes the account's files take."""
    edge, principal = await authorized(request, "read")
    use = await edge.services.store.storage_use.get(principal.account)
    at_most = await edge.services.store.storage_use.at_most(principal.account)
    return json_reply(storage_out(principal.account, use, at_most))


def storage_out(account: str, use: Use, at_most: int | None) -> StorageOut:
    return StorageOut(
        account=account,
        outputs_bytes=use.outputs,
        inputs_bytes=use.inputs,
        uploads_bytes=use.uploads,
        total_bytes=use.total,
        at_most_bytes=at_most,
    )


HANDLERS = [delete_prediction, get_storage]
