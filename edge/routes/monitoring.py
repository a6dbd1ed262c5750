"""What monitoring and autoscalers read, with a token of scope admin; without one: ``metrics/door.py``."""

from litestar import get
from litestar.types import ASGIApp

from edge.context import authorized
from edge.errors import Problem
from edge.metrics.exposition import CONTENT_TYPE
from edge.metrics.page import metrics_page
from edge.metrics.scale import scale_page
from edge.replies import HTTPRequest, Reply


@get("/metrics")
async def get_metrics(request: HTTPRequest) -> ASGIApp:
    """Figures for Prometheus. Needs a token of scope admin."""
    edge, _ = await authorized(request, "admin")
    return Reply(await metrics_page(edge.services), content_type=CONTENT_TYPE)


@get("/v1/admin/scale")
async def get_scale(request: HTTPRequest) -> ASGIApp:
    """How many workers each model in each pool needs now, or one of them. Needs a token of scope admin."""
    edge, _ = await authorized(request, "admin")
    asked = request.query_params
    page = await scale_page(edge.services, asked.get("model"), asked.get("pool"))
    if page is None:
        raise Problem("not_found", "There is no such model in that pool.")
    return Reply(page)


HANDLERS = [get_metrics, get_scale]
