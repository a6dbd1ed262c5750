"""What a backup holds, for people and for scripts."""

from typing import Any

from coordinator.backup.manifest import Manifest
from edge.quantities import format_size
from edge.times import rfc3339


def summary(manifest: Manifest) -> dict[str, Any]:
    return {
        "begun_at": rfc3339(manifest.begun_at),
        "ended_at": rfc3339(manifest.ended_at),
        "software": manifest.software,
        "schema": manifest.schema,
        "server": manifest.server,
        "coordinators": manifest.objects,
        "predictions": manifest.predictions,
        "tokens": manifest.tokens,
        "uploads": manifest.uploads,
        "files": manifest.blobs,
        "file_bytes": manifest.blob_bytes,
        **({"files_in": manifest.elsewhere} if manifest.elsewhere else {}),
        "state_bytes": sum(content.length for content in manifest.files.values()),
    }


def text(told: dict[str, Any]) -> str:
    """The same in lines of a terminal."""
    sizes = {"file_bytes", "state_bytes"}
    return "\n".join(
        f"{name.replace('_', ' '):<13} {format_size(value) if name in sizes else value}"
        for name, value in told.items()
    )
