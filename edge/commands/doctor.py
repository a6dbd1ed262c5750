"""``cogflare doctor``: looks at a server, its machine, or a machine of an agent, and says what to do."""

import json
import shutil
import sys

from edge.commands.doctoring.settings import DoctorSettings
from edge.exits import CommandFailed, ExitCode

SETTINGS = DoctorSettings
ABOUT = (
    "Look at a server's data directory, storage, clock, certificate and how it is reached, or at a machine "
    "that runs models, and say what to do. What is not here is passed over. With the environment of the "
    "server or of the agent it looks at what they use. Nothing is changed. Exit code 1 when a check fails."
)


def run(settings: DoctorSettings) -> int:
    if sys.platform == "win32":
        raise CommandFailed(
            "cogflare doctor does not run on Windows itself", ExitCode.UNSUPPORTED, "run it in WSL2"
        )
    from edge.commands.doctoring import data, machine, server, storage
    from edge.commands.doctoring.findings import Check, as_json, looked, passed_over, summary, told
    from edge.commands.doctoring.subject import Subject

    checks = (
        Check("data directory", data.directory),
        Check("secret key", data.secret),
        Check("file system", data.file_system),
        Check("writable", data.writable),
        Check("free space", data.free_space),
        Check("fsync", data.fsync),
        Check("one server", data.one_server),
        Check("schema", data.schema),
        Check("storage", storage.probe),
        Check("storage's clock", storage.clock),
        Check("reachability", server.reachable),
        Check("leads here", server.ourselves),
        Check("certificate", server.certificate),
        Check("clock", server.clock),
        Check("websocket", server.websocket),
        Check("token", server.token),
        Check("driver", machine.driver),
        Check("CUDA", machine.cuda),
        Check("state", machine.state),
        Check("Python", machine.python),
        Check("models", machine.models),
        Check("PyTorch", machine.torch),
    )
    subject = Subject(settings)
    width = max(len(check.name) for check in checks)
    columns = shutil.get_terminal_size().columns
    found = []
    for check in checks:
        finding = looked(check, subject)
        found.append((check.name, finding))
        if not settings.json and finding.state != "skip":
            print(told(check.name, finding, width, columns), flush=True)
    if settings.json:
        print(json.dumps(as_json(found)))
    else:
        print(passed_over(found, columns) + summary(finding for _, finding in found))
    failed = any(finding.state == "fail" for _, finding in found)
    return ExitCode.FAILED if failed else ExitCode.DONE
