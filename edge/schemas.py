"""The only home of public field names: what clients send and what they get, in Replicate's shapes."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal
from urllib.parse import quote

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from coordinator.calls import Deliveries, Explained
from coordinator.prediction import Document, Status
from coordinator.protocol.limits import MODEL_EXAMPLES, MODEL_README_LENGTH, MODEL_TEXT_LENGTH
from coordinator.protocol.messages import BLOB_REFERENCE, StoredFile
from coordinator.store.deployments import Deployment
from coordinator.store.files import FileRow
from coordinator.store.models import ModelRow, VersionRow
from edge.errors import InvalidField, Problem, invalid_input
from edge.hardware import sku
from edge.inputs import VersionSchema
from edge.links import Links
from edge.reasons import sentence
from edge.stream_tokens import StreamTokens
from edge.times import rfc3339
from edge.training_output import training_output

HIDDEN_VERSION = "hidden"
"""Stands for a version that is not known yet: clients refuse null."""
_NULL = Raw(b"null")
_REFERENCE = re.compile(rb'"%s([A-Za-z0-9._~%%/-]+)"' % re.escape(BLOB_REFERENCE.encode()))

encode = msgspec.json.Encoder().encode


class CreateBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a creation. ``stream`` and ``webhook_completed`` are taken and mean nothing."""

    input: Raw | UnsetType = UNSET
    version: str | None = None
    model: str | None = None
    webhook: Any = None
    webhook_events_filter: Any = None
    webhook_completed: Any = None
    stream: Any = None
    priority: Any = None
    """``interactive``, ``normal`` or ``batch``."""
    end_user: Any = None
    """The client's own key for whom it works: its users share what the token has."""
    max_wait: Any = None
    """Seconds, or a time such as ``5m``, that it may wait in the queue."""
    metadata: Any = None
    """An object that is kept for the client and shown back."""
    id: Any = None
    """Of the client's own, where the path says the same."""
    retention: Any = None
    """How long it is kept after its end: seconds, a time such as ``12h`` or ``7d``, or ``forever``."""
    lifetime: Any = None
    """The header ``Cancel-After`` in the body."""


class BatchBody(msgspec.Struct, forbid_unknown_fields=True):
    """Many creations in one body: each in full, or inputs that go with one template."""

    predictions: list[Raw] | UnsetType = UNSET
    template: dict[str, Raw] | UnsetType = UNSET
    inputs: list[dict[str, Raw]] | UnsetType = UNSET


_Line = Annotated[str, Meta(max_length=MODEL_TEXT_LENGTH)]
_Readme = Annotated[str, Meta(max_length=MODEL_README_LENGTH)]


class ModelBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body that makes a model."""

    owner: str
    name: str
    visibility: Literal["public", "private"]
    hardware: str
    description: _Line | None = None
    github_url: _Line | None = None
    paper_url: _Line | None = None
    license_url: _Line | None = None
    cover_image_url: _Line | None = None


class ModelChanges(msgspec.Struct, forbid_unknown_fields=True):
    """The body that changes one: what is left out stays as it is. ``visibility`` and ``examples``, ids of
    predictions, are our own."""

    description: _Line | UnsetType | None = UNSET
    readme: _Readme | UnsetType | None = UNSET
    github_url: _Line | UnsetType | None = UNSET
    paper_url: _Line | UnsetType | None = UNSET
    weights_url: _Line | UnsetType | None = UNSET
    license_url: _Line | UnsetType | None = UNSET
    cover_image_url: _Line | UnsetType | None = UNSET
    visibility: Literal["public", "private"] | UnsetType = UNSET
    examples: Annotated[list[_Line], Meta(max_length=MODEL_EXAMPLES)] | UnsetType | None = UNSET


class DeploymentBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body that makes a deployment."""

    name: str
    model: str
    version: str
    hardware: str
    min_instances: Annotated[int, Meta(ge=0, le=5)]
    max_instances: Annotated[int, Meta(ge=0, le=20)]


class DeploymentChanges(msgspec.Struct, forbid_unknown_fields=True):
    """The body that changes one: what is left out stays as it is."""

    version: str | UnsetType = UNSET
    hardware: str | UnsetType = UNSET
    min_instances: Annotated[int, Meta(ge=0, le=5)] | UnsetType = UNSET
    max_instances: Annotated[int, Meta(ge=0, le=20)] | UnsetType = UNSET


def changed(body: msgspec.Struct) -> dict[str, Any]:
    """The fields that a body has a value for, be it null."""
    values = ((name, getattr(body, name)) for name in body.__struct_fields__)
    return {name: value for name, value in values if value is not UNSET}


def wrong_links(body: msgspec.Struct) -> list[InvalidField]:
    """Links that would not lead to a page: they end up in other people's browsers."""
    return [
        InvalidField("format", name, "Must be a URL that begins with https:// or http://")
        for name, value in changed(body).items()
        if name.endswith("_url") and value and not value.lower().startswith(("https://", "http://"))
    ]


class EtaOut(msgspec.Struct):
    """Seconds until it begins: as likely as not, and in nine of ten cases."""

    p50: float
    p90: float


class QueueOut(msgspec.Struct):
    """Where a prediction stands that waits."""

    reason: str
    position: int
    of: int
    eta: EtaOut | None
    detail: str


class WhyOut(msgspec.Struct):
    """Why a prediction is in the state that it is in: a sentence, and what it is made of."""

    id: str
    status: str
    why: str
    reason: str | None
    error_code: str | None
    attempts: Sequence["AttemptOut"]
    queue: QueueOut | None


class TryOut(msgspec.Struct):
    """One request to a webhook: the status of its answer, or why there was none."""

    at: str
    took_s: float
    status: int | None
    error: str | None


class DeliveriesOut(msgspec.Struct):
    """What became of the webhook of a prediction's end: ``none`` was asked for, or it has not ended or is
    told no longer; ``waiting`` until the end is listed, ``pending`` until ``next_at``, ``delivered``, or
    ``failed`` for good."""

    id: str
    webhook: str | None
    webhook_events_filter: Sequence[str]
    state: str
    next_at: str | None
    tries: Sequence[TryOut]


class WebhookSecretOut(msgspec.Struct):
    key: str


class PredictionUrls(msgspec.Struct):
    get: str
    cancel: str
    web: str
    stream: str | UnsetType = UNSET


class AttemptOut(msgspec.Struct):
    """One dispatch of a prediction to a worker."""

    number: int
    worker: str
    dispatched_at: str
    ended_at: str | None
    outcome: str | None
    reason: str | None
    logs: str | UnsetType = UNSET


class PredictionOut(msgspec.Struct):
    id: str
    model: str
    version: str
    input: Raw
    output: Raw
    error: str | None
    status: str
    created_at: str
    started_at: str | None
    completed_at: str | None
    metrics: dict[str, Raw]
    urls: PredictionUrls
    logs: str | UnsetType = UNSET
    error_code: str | UnsetType = UNSET
    attempts: Sequence[AttemptOut] | UnsetType = UNSET
    """Only of one that did not simply run once."""
    redriven_from: str | UnsetType = UNSET
    deadline: str | UnsetType = UNSET
    deployment: str | UnsetType = UNSET
    destination: str | UnsetType = UNSET
    """Only of a training."""
    metadata: Raw | UnsetType = UNSET
    webhook: str | UnsetType = UNSET
    webhook_events_filter: Sequence[str] | UnsetType = UNSET
    """Both only in the answer to a creation."""
    source: str = "api"
    data_removed: bool = False
    expires_at: str | UnsetType = UNSET
    """When input, output, logs and files are removed, or were; only of one that has ended and is not kept for
    good."""
    queue: QueueOut | UnsetType = UNSET
    """Only of one that waits, and only when it is asked for by its id."""


class StatusOut(msgspec.Struct):
    """What the stream of a prediction says each time that its status is another one."""

    id: str
    status: str
    attempt: int
    """0 before it was given to a worker."""
    started_at: str | None
    completed_at: str | None
    error: str | None
    error_code: str | None
    metrics: dict[str, Raw]


class BatchItemOut(msgspec.Struct):
    """What became of one creation of a batch: the prediction, or the problem document."""

    status: int
    prediction: PredictionOut | UnsetType = UNSET
    error: Raw | UnsetType = UNSET


class BatchOut(msgspec.Struct):
    """What became of each, in their order."""

    created: int
    refused: int
    results: Sequence[BatchItemOut]


class VersionOut(msgspec.Struct):
    id: str
    created_at: str
    cog_version: str
    openapi_schema: Raw


class ModelOut(msgspec.Struct):
    url: str
    owner: str
    name: str
    visibility: str
    run_count: int
    created_at: str
    latest_version: VersionOut | None
    description: str | None = None
    is_official: bool = False
    github_url: str | None = None
    paper_url: str | None = None
    license_url: str | None = None
    weights_url: str | None = None
    cover_image_url: str | None = None
    default_example: PredictionOut | None = None


class HardwareOut(msgspec.Struct):
    name: str
    sku: str


class CreatorOut(msgspec.Struct):
    username: str
    name: str
    type: str = "organization"


class ConfigurationOut(msgspec.Struct):
    hardware: str
    min_instances: int
    max_instances: int


class ReleaseOut(msgspec.Struct):
    number: int
    model: str
    version: str
    created_at: str
    created_by: CreatorOut
    configuration: ConfigurationOut


class DeploymentOut(msgspec.Struct):
    owner: str
    name: str
    current_release: ReleaseOut


class FoundMetadata(msgspec.Struct):
    generated_description: str
    tags: Sequence[str]
    score: float


class FoundModel(msgspec.Struct):
    model: ModelOut
    metadata: FoundMetadata


class SearchOut(msgspec.Struct):
    """What a search found. Collections and pages are Replicate's; there are none."""

    query: str
    models: Sequence[FoundModel]
    collections: Sequence[Any] = ()
    pages: Sequence[Any] = ()


class FileOut(msgspec.Struct):
    id: str
    name: str
    content_type: str
    size: int
    etag: str
    checksums: dict[str, str]
    metadata: dict[str, Any]
    created_at: str
    expires_at: str | None
    urls: dict[str, str]


class Page(msgspec.Struct):
    next: str | None
    results: Sequence[Any]
    previous: str | None = None


class StorageOut(msgspec.Struct):
    """Bytes of an account's files: what predictions gave, what stood in inputs, and uploads."""

    account: str
    outputs_bytes: int
    inputs_bytes: int
    uploads_bytes: int
    total_bytes: int
    at_most_bytes: int | None


class AccountOut(msgspec.Struct):
    username: str
    name: str
    type: str = "organization"


class Renderer:
    """Renders what the server holds into what clients see."""

    def __init__(self, links: Links, tokens: StreamTokens) -> None:
        self._links = links
        self._tokens = tokens

    def prediction(
        self,
        document: Document,
        version: str,
        schema: VersionSchema | None,
        *,
        in_list: bool = False,
        contents: Mapping[str, str] = {},
    ) -> PredictionOut:
        """A prediction. ``version`` stands in where the document has none yet; lists leave logs out.
        ``contents`` has the data URIs of files that are shown so, by key."""
        links = self._links
        get = (links.training if document.destination else links.prediction)(shown_id(document))
        urls = PredictionUrls(get=get, cancel=f"{get}/cancel", web=self._links.to(f"/p/{document.id}"))
        if document.streams:
            # The JavaScript client makes files of what comes from below /v1/files/, and text of all else.
            folder = "files/streams" if schema is not None and schema.streams_files else "streams"
            token = self._tokens.make(document.id, document.account)
            urls.stream = self._links.to(f"/v1/{folder}/{token}")
        return PredictionOut(
            id=shown_id(document),
            model=document.model,
            version=document.version or version or HIDDEN_VERSION,
            input=Raw(document.input if schema is None else schema.masked(document.input)),
            output=training_output(document, schema, links)
            if document.destination
            else self.value(document.output, document.files, contents),
            destination=document.destination or UNSET,
            error=document.error,
            error_code=document.error_code or UNSET,
            status=document.status.value,
            created_at=rfc3339(document.created_at),
            started_at=None if document.started_at is None else rfc3339(document.started_at),
            completed_at=None if document.completed_at is None else rfc3339(document.completed_at),
            metrics=_metrics(document),
            urls=urls,
            logs=UNSET if in_list else document.logs,
            attempts=UNSET if in_list or _ran_once(document) else _attempts(document),
            redriven_from=document.redriven_from or UNSET,
            deadline=UNSET if document.total_deadline_at is None else rfc3339(document.total_deadline_at),
            deployment=document.deployment or UNSET,
            metadata=Raw(document.metadata) if document.metadata else UNSET,
            source=document.source,
            data_removed=document.data_removed,
            expires_at=UNSET if document.expires_at is None else rfc3339(document.expires_at),
        )

    def status(self, document: Document) -> StatusOut:
        return StatusOut(
            id=document.id,
            status=document.status.value,
            attempt=document.attempts[-1].number if document.attempts else 0,
            started_at=None if document.started_at is None else rfc3339(document.started_at),
            completed_at=None if document.completed_at is None else rfc3339(document.completed_at),
            error=document.error,
            error_code=document.error_code,
            metrics=_metrics(document),
        )

    def queue(self, explained: Explained) -> QueueOut | None:
        """None for one that does not wait."""
        if explained.reason is None:
            return None
        p50, p90 = explained.eta_p50_s, explained.eta_p90_s
        return QueueOut(
            reason=explained.reason,
            position=explained.position,
            of=explained.of,
            eta=None if p50 is None or p90 is None else EtaOut(round(p50, 1), round(p90, 1)),
            detail=sentence(explained),
        )

    def deliveries(self, document: Document, found: Deliveries | None) -> DeliveriesOut:
        return DeliveriesOut(
            id=shown_id(document),
            webhook=document.webhook or None,
            webhook_events_filter=document.webhook_events,
            state="none" if found is None else found.state,
            next_at=None if found is None or found.next_at is None else rfc3339(found.next_at),
            tries=[
                TryOut(rfc3339(one.at), one.took_s, one.status, one.error or None)
                for one in (found.tries if found is not None else ())
            ],
        )

    def why(self, explained: Explained) -> WhyOut:
        document = explained.document
        return WhyOut(
            id=shown_id(document),
            status=document.status.value,
            why=sentence(explained),
            reason=explained.reason,
            error_code=document.error_code,
            attempts=_attempts(document),
            queue=self.queue(explained),
        )

    def value(
        self, output: bytes | None, files: Sequence[StoredFile], contents: Mapping[str, str] = {}
    ) -> Raw:
        """An output's JSON, with the URL of each stored file in the place of its reference: a data URI for
        those in ``contents``.

        Only whole strings that name one of ``files`` are replaced: in a model's own text the quotes around a
        look-alike are escaped, so it does not match.
        """
        if output is None:
            return _NULL
        if not files:
            return Raw(output)
        urls = {file.key.encode(): file for file in files}

        def url(match: re.Match[bytes]) -> bytes:
            file = urls.get(match[1])
            if file is None:
                return match[0]
            return encode(contents.get(file.key) or self._links.stored(file))

        return Raw(_REFERENCE.sub(url, output))

    def version(self, row: VersionRow) -> VersionOut:
        return VersionOut(
            id=row.id,
            created_at=rfc3339(row.created_at),
            cog_version=row.cog_version,
            openapi_schema=Raw(row.openapi_schema),
        )

    def model(self, row: ModelRow, example: PredictionOut | None = None) -> ModelOut:
        owner, _, name = row.model.partition("/")
        return ModelOut(
            url=self._links.model(row.model),
            owner=owner,
            name=name,
            visibility=row.visibility,
            run_count=row.run_count,
            created_at=rfc3339(row.created_at),
            latest_version=None if row.latest_version is None else self.version(row.latest_version),
            description=row.description or None,
            github_url=row.links.get("github_url"),
            paper_url=row.links.get("paper_url"),
            license_url=row.links.get("license_url"),
            weights_url=row.links.get("weights_url"),
            cover_image_url=row.links.get("cover_image_url"),
            default_example=example,
        )

    def deployment(self, row: Deployment) -> DeploymentOut:
        return DeploymentOut(
            owner=row.account,
            name=row.name,
            current_release=ReleaseOut(
                number=row.number,
                model=row.model,
                version=row.version,
                created_at=rfc3339(row.released_at),
                created_by=CreatorOut(username=row.account, name=row.account),
                configuration=ConfigurationOut(sku(row.gpu), row.min_instances, row.max_instances),
            ),
        )

    def file(self, row: FileRow) -> FileOut:
        return FileOut(
            id=row.id,
            name=row.name,
            content_type=row.content_type,
            size=row.size,
            etag=row.md5,
            checksums={"sha256": row.sha256, "md5": row.md5},
            metadata=row.metadata,
            created_at=rfc3339(row.created_at),
            expires_at=None if row.expires_at is None else rfc3339(row.expires_at),
            urls={
                "get": self._links.uploaded(row.id),
                "download": self._links.download(row.id, row.account),
            },
        )

    def page(self, results: Sequence[Any], path: str, following: dict[str, str] | None) -> Page:
        """A page; ``following`` is the next one's query. ``next`` is absolute: clients send tokens to it."""
        if following is None:
            return Page(next=None, results=results)
        query = "&".join(f"{name}={quote(value, safe='')}" for name, value in following.items())
        return Page(next=f"{self._links.to(path)}?{query}", results=results)


def shown_id(document: Document) -> str:
    """The client's own, if it has one. Both find it."""
    return document.own_id or document.id


def _ran_once(document: Document) -> bool:
    attempts = document.attempts
    return not attempts or (len(attempts) == 1 and attempts[0].outcome in (None, "finished"))


def _attempts(document: Document) -> list[AttemptOut]:
    return [
        AttemptOut(
            number=attempt.number,
            worker=attempt.agent_name,
            dispatched_at=rfc3339(attempt.dispatched_at),
            ended_at=None if attempt.ended_at is None else rfc3339(attempt.ended_at),
            outcome=attempt.outcome,
            reason=attempt.reason or None,
            logs=attempt.logs or UNSET,
        )
        for attempt in document.attempts
    ]


def as_unfinished(document: Document) -> Document:
    """What a wait that ran out shows: clients take any other status in that answer for the end."""
    return msgspec.structs.replace(
        document,
        status=Status.STARTING,
        output=None,
        files=(),
        error=None,
        error_code=None,
        logs="",
        metrics=b"{}",
        started_at=None,
        completed_at=None,
        attempts=(),
    )


_decode_create = msgspec.json.Decoder(CreateBody).decode


def parse_create(body: bytes) -> CreateBody:
    """The body of a creation. Raises Problem: ``bad_request`` for what is no JSON, else 422 by field."""
    if not body.strip():
        body = b"{}"
    try:
        return _decode_create(body)
    except msgspec.ValidationError:
        raise invalid_input(*_wrong_fields(body)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Problem("bad_request", "The request body is not valid JSON.") from None


_NEWER = ("retention", "lifetime")


def content_of(body: CreateBody) -> list[Any]:
    """What a body says beside its input. What an older release did not know is left out where it says nothing
    of it: then it is the same request that was remembered before the upgrade."""
    names = [name for name in CreateBody.__struct_fields__ if name != "input"]
    return [each for name in names if (each := getattr(body, name)) is not None or name not in _NEWER]


def refuse_id(body: CreateBody) -> None:
    """Raises Problem when the body of a POST names an id."""
    if body.id is not None:
        raise invalid_input(
            InvalidField(
                "additional_property_not_allowed", "id", "To give it an id, PUT /v1/predictions/{id}"
            )
        )


def refuse_target(body: CreateBody, why: str) -> None:
    """Raises Problem when the body says what to run, where the path does already."""
    named = [name for name in ("version", "model") if getattr(body, name) is not None]
    if named:
        raise invalid_input(*(InvalidField("additional_property_not_allowed", name, why) for name in named))


def _wrong_fields(body: bytes) -> list[InvalidField]:
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Problem("bad_request", "The request body is not valid JSON.") from None
    if not isinstance(fields, dict):
        return [InvalidField("invalid_type", "", "The request body must be a JSON object")]
    known = CreateBody.__struct_fields__
    found = [
        InvalidField("additional_property_not_allowed", name, f"Additional property {name} is not allowed")
        for name in fields
        if name not in known
    ]
    found.extend(
        InvalidField("invalid_type", name, "Invalid type. Expected: string")
        for name in ("version", "model")
        if not isinstance(fields.get(name), str | None)
    )
    return found


_decode_metrics = msgspec.json.Decoder(dict[str, Raw]).decode


def _metrics(document: Document) -> dict[str, Raw]:
    metrics = _decode_metrics(document.metrics)
    if document.completed_at is None or "total_time" in metrics:
        return metrics
    total_s = max(0, document.completed_at - document.created_at) / 1_000_000
    return {**metrics, "total_time": Raw(b"%.6f" % total_s)}
