"""``cogflare migrate``: makes a data directory, or brings an older one to this version's schema."""

from edge.exits import ExitCode
from edge.settings import MigrateSettings

SETTINGS = MigrateSettings
ABOUT = "Create a data directory, or bring it up to date. `cogflare serve` does the same when it starts."


def run(settings: MigrateSettings) -> int:
    from coordinator.store.database import migrate
    from edge.data_dir import DataDir
    from edge.failures import explained

    data = DataDir(settings.data)
    data.create()
    data.hold("migrate")
    try:
        with explained(data):
            data.key("check")
            migrate(data.database_url)
    finally:
        data.release()
    print(f"{data.path} is up to date")
    return ExitCode.DONE
