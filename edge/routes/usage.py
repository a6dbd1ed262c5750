"""What an account's predictions came to."""

from litestar import get
from litestar.types import ASGIApp
from msgspec import to_builtins

from coordinator.store.errors import Invalid
from edge import daily
from edge.context import authorized, json_reply
from edge.control import AskUsage
from edge.errors import InvalidField, invalid_input
from edge.replies import HTTPRequest, Reply, header
from edge.usage import DEFAULT_GROUPS, as_csv, limits_of, report

ALL = "*"
FORMATS = ("json", "csv")


@get("/v1/usage", opt={"keys": True})
async def get_usage(request: HTTPRequest) -> ASGIApp:
    """Predictions, run time, bytes and money by day, token, end user and model: of the token's account, or
    for an administrator of any ('*' for all). JSON, or CSV with ``format=csv`` or ``Accept: text/csv``."""
    edge, principal = await authorized(request, "read")
    query = request.query_params
    form = query.get("format") or ("csv" if "text/csv" in (header(request, b"accept") or "") else "json")
    if form not in FORMATS:
        raise invalid_input(InvalidField("enum", "format", f"Must be one of {', '.join(FORMATS)}"))
    account: str | None = query.get("account") or principal.account
    if account != principal.account and "admin" not in principal.scopes:
        principal.require("admin")
    text = query.get("group_by")
    groups = (
        DEFAULT_GROUPS if text is None else tuple(each.strip() for each in text.split(",") if each.strip())
    )
    order = AskUsage(
        group_by=groups,
        first=query.get("from") or None,
        last=query.get("to") or None,
        account=None if account == ALL else account,
        token=query.get("token") or None,
        # A key is its one user, and sees what that one had.
        end_user=query.get("end_user") if principal.maker is None else principal.token,
        model=query.get("model") or None,
    )
    try:
        found = await report(edge.services.store, order, edge.services.currency)
    except Invalid as error:
        name, _, detail = str(error).partition(": ")
        hint = f"; {error.hint}" if error.hint else ""
        raise invalid_input(InvalidField("invalid", name, detail + hint)) from None
    today = edge.services.store.usage.today
    if principal.maker is None:
        found.limits = [
            each for owner, limits in daily.limits_of(principal) for each in limits_of(today, owner, limits)
        ]
    if form == "json":
        return json_reply(found)
    named = f'attachment; filename="usage-{found.first}-{found.last}.csv"'.encode()
    return Reply(
        as_csv(to_builtins(found)).encode(),
        content_type=b"text/csv; charset=utf-8",
        headers=((b"content-disposition", named),),
    )


HANDLERS = [get_usage]
