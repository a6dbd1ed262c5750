"""What the OpenAPI document says of ``/v1/admin`` and ``/v1/keys``, by the names of the handlers."""

from collections.abc import Mapping
from typing import Any

from edge.routes import keys
from edge.routes.admin import shapes
from edge.routes.admin.ordering import LARGEST_PAGE

COMPONENTS: Mapping[str, type] = {
    "AdminToken": shapes.TokenOut,
    "AdminNewToken": shapes.NewTokenOut,
    "AdminTokenRequest": shapes.TokenBody,
    "AdminTokenChanges": shapes.TokenChanges,
    "AdminRotation": shapes.RotateBody,
    "AdminImport": shapes.ImportOut,
    "AdminImportRequest": shapes.ImportBody,
    "AdminAccount": shapes.AdminAccountOut,
    "AdminAccountChanges": shapes.AdminAccountChanges,
    "AdminWebhookSecret": shapes.RotatedSecretOut,
    "AdminAct": shapes.ActOut,
    "AdminModel": shapes.AdminModelOut,
    "AdminModelChanges": shapes.AdminModelChanges,
    "AdminPool": shapes.PoolBody,
    "AdminQueue": shapes.AdminQueueOut,
    "AdminQueues": shapes.QueuesOut,
    "AdminWorker": shapes.WorkerOut,
    "AdminWorkers": shapes.WorkersOut,
    "AdminMark": shapes.MarkBody,
    "AdminCancelRequest": shapes.CancelBody,
    "AdminCancel": shapes.CancelOut,
    "AdminDeadLetter": shapes.DeadOut,
    "AdminRedriveRequest": shapes.RedriveBody,
    "AdminRedrive": shapes.RedriveOut,
    "Key": keys.KeyOut,
    "NewKey": keys.NewKeyOut,
    "KeyRequest": keys.KeyBody,
}
ANSWERS: Mapping[str, tuple[str, str]] = {
    "admin_create_token": ("201", "AdminNewToken"),
    "admin_import_tokens": ("200", "AdminImport"),
    "admin_get_token": ("200", "AdminToken"),
    "admin_update_token": ("200", "AdminToken"),
    "admin_rotate_token": ("200", "AdminNewToken"),
    "admin_revoke_token": ("200", "AdminToken"),
    "admin_get_account": ("200", "AdminAccount"),
    "admin_update_account": ("200", "AdminAccount"),
    "admin_rotate_webhook_secret": ("200", "AdminWebhookSecret"),
    "admin_get_model": ("200", "AdminModel"),
    "admin_update_model": ("200", "AdminModel"),
    "admin_pause_model": ("200", "AdminQueues"),
    "admin_resume_model": ("200", "AdminQueues"),
    "admin_drain_worker": ("200", "AdminWorkers"),
    "admin_resume_worker": ("200", "AdminWorkers"),
    "admin_quarantine_worker": ("200", "AdminWorkers"),
    "admin_release_worker": ("200", "AdminWorkers"),
    "admin_cancel_predictions": ("200", "AdminCancel"),
    "admin_redrive": ("200", "AdminRedrive"),
    "create_key": ("201", "NewKey"),
    "get_key": ("200", "Key"),
    "rotate_key": ("200", "NewKey"),
    "revoke_key": ("200", "Key"),
}
"""Status and component."""
PAGES: Mapping[str, str] = {
    "admin_list_tokens": "AdminToken",
    "admin_list_accounts": "AdminAccount",
    "admin_list_acts": "AdminAct",
    "admin_list_models": "AdminModel",
    "admin_list_queues": "AdminQueue",
    "admin_list_workers": "AdminWorker",
    "admin_list_dead": "AdminDeadLetter",
    "list_keys": "Key",
}
BODIES: Mapping[str, str] = {
    "admin_create_token": "AdminTokenRequest",
    "admin_import_tokens": "AdminImportRequest",
    "admin_update_token": "AdminTokenChanges",
    "admin_rotate_token": "AdminRotation",
    "admin_update_account": "AdminAccountChanges",
    "admin_update_model": "AdminModelChanges",
    "admin_pause_model": "AdminPool",
    "admin_resume_model": "AdminPool",
    "admin_drain_worker": "AdminMark",
    "admin_resume_worker": "AdminMark",
    "admin_quarantine_worker": "AdminMark",
    "admin_release_worker": "AdminMark",
    "admin_cancel_predictions": "AdminCancelRequest",
    "admin_redrive": "AdminRedriveRequest",
    "create_key": "KeyRequest",
    "rotate_key": "AdminRotation",
}
QUERIES: Mapping[str, tuple[str, ...]] = {
    "admin_list_tokens": ("account", "cursor", "limit"),
    "admin_get_token": ("account",),
    "admin_update_token": ("account",),
    "admin_rotate_token": ("account",),
    "admin_revoke_token": ("account",),
    "admin_list_acts": ("act", "target", "token", "cursor", "limit"),
    "admin_list_queues": ("model", "all"),
    "admin_list_workers": ("model", "all"),
    "admin_list_dead": ("model", "limit"),
    "list_keys": ("cursor", "limit"),
}
LIMIT: Mapping[str, Any] = {"type": "integer", "minimum": 1, "maximum": LARGEST_PAGE}
QUERY_SCHEMAS: Mapping[str, Mapping[str, Any]] = {
    **{f"{name} limit": LIMIT for name, queries in QUERIES.items() if "limit" in queries},
    **{f"{name} all": {"type": "boolean"} for name, queries in QUERIES.items() if "all" in queries},
}
