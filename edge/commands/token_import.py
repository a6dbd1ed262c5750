"""``cogflare token import``: takes over the tokens that a Cogflare of 2022 kept in its key-value store."""

import json
import sys
from typing import Any

from edge.exits import CommandFailed, ExitCode
from edge.settings import TokenImportSettings

SETTINGS = TokenImportSettings
ABOUT = (
    "Take over the tokens of a Cogflare of 2022. Clients and workers keep their secrets, Replicate keys are "
    "stored encrypted. The same file again changes nothing. Works through the running server, or on the "
    "files when none runs."
)


def run(settings: TokenImportSettings) -> int:
    from edge.administration import ordered
    from edge.control import ImportTokens
    from edge.kv_file import read_entries

    entries, problems = read_entries(settings.file)
    order = ImportTokens(
        account=settings.account,
        entries=tuple(entries),
        skip_bad=settings.skip_bad,
        dry_run=settings.dry_run or bool(problems and not settings.skip_bad),
    )
    done: dict[str, Any] = ordered(settings.where, order, "token import")
    problems = done["problems"] = problems + done["problems"]
    for problem in problems:
        print(f"cogflare: {problem}", file=sys.stderr)
    if settings.json:
        print(json.dumps(done))
    elif done["applied"] or settings.dry_run:
        _tell(done)
    if problems and not settings.skip_bad:
        raise CommandFailed(
            f"nothing was imported: {len(problems)} of the records in {settings.file} cannot be",
            ExitCode.USAGE,
            "mend the file, or say --skip-bad to import the others",
        )
    return ExitCode.DONE


def _tell(done: dict[str, Any]) -> None:
    from edge.token_import import counts

    print(
        f"{'imported' if done['applied'] else 'would import'} into account {done['account']}: "
        f"{counts(done['made'])}; changed {len(done['changed'])}, unchanged {done['unchanged']}, "
        f"left out {len(done['problems'])}"
    )
    pools = sorted({record["pool"] for record in done["made"] if "worker" in record["scopes"]})
    if pools and not done["applied"]:
        print("  their pools get names when it is done")
        return
    for pool in pools:
        print(f"  pool {pool}: for newer workers beside these, cogflare token create NAME --worker {pool}")
