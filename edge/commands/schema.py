"""``cogflare schema``: a model's OpenAPI document, as its runner makes it. Needs no server library."""

import sys

from edge.exits import CommandFailed, ExitCode
from edge.settings import SchemaSettings

SETTINGS = SchemaSettings
ABOUT = "Read a model as an agent would, but for its setup(), and print its OpenAPI document as JSON."


def run(settings: SchemaSettings) -> int:
    if sys.platform == "win32":
        raise CommandFailed(
            "cogflare schema does not run on Windows itself", ExitCode.UNSUPPORTED, "run it in WSL2"
        )
    import json

    from edge.commands.predicting.loading import chosen, document_of

    choice = chosen(settings.dir, settings.interpreter, "cogflare schema")
    document = document_of(choice, sys.stderr.buffer)
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    print(json.dumps(document, indent=2, ensure_ascii=False), flush=True)
    return ExitCode.DONE
