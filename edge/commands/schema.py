"""``cogflare schema``: a model's OpenAPI document, as its runner makes it. Needs no server library."""

import sys

from edge.exits import CommandFailed, ExitCode
from edge.settings import SchemaSettings

SETTINGS = SchemaSettings
ABOUT = "Load a model as an agent would, setup() included, and print its OpenAPI document as JSON."


def run(settings: SchemaSettings) -> int:
    import asyncio

    if sys.platform == "win32":
        raise CommandFailed(
            "cogflare schema does not run on Windows itself", ExitCode.UNSUPPORTED, "run it in WSL2"
        )
    return asyncio.run(_print_schema(settings))


async def _print_schema(settings: SchemaSettings) -> int:
    import json
    import tempfile
    from pathlib import Path

    from gpu_agent.model_dir import ModelDir, ModelDirError
    from gpu_agent.runner import Runner, SetupFailed

    try:
        model = ModelDir.read(settings.dir)
    except ModelDirError as error:
        raise CommandFailed(str(error), ExitCode.USAGE) from error
    python = str(settings.python or sys.executable)
    with tempfile.TemporaryDirectory(prefix="cogflare-schema-") as work_dir:
        runner = Runner(model, python=python, work_dir=Path(work_dir), log=None)
        try:
            loaded = await runner.start()
        except SetupFailed as error:
            if error.logs:
                print(error.logs.rstrip(), file=sys.stderr)
            raise CommandFailed(f"{settings.dir} cannot be loaded: {error}") from error
        finally:
            await runner.stop(5.0)
    print(json.dumps(loaded.schema, indent=2, ensure_ascii=False))
    return ExitCode.DONE
