"""Makes the environment that a procedure's cog.yaml asks for: run as a program, with the procedure's rights.

    python -P -m gpu_agent.server.procedures.furnish FOLDER UID GID CACHE

What pip runs is the procedure's own code, so it becomes the user UID first (-1: stays who it is). The last
line is the interpreter, all others are for the log. Exit code 1: there is no environment, the last line says
why.
"""

import os
import signal
import sys
from pathlib import Path

from gpu_agent.environment import EnvironmentFailed, prepare
from gpu_agent.model_dir import ModelDir, ModelDirError
from gpu_agent.server.procedures.unpack import become


def _leave(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt  # which ends pip, too


def main(arguments: list[str]) -> int:
    import yaml  # noqa: F401 - as another user there may be nothing left to import

    folder, uid, gid, cache = arguments
    become(int(uid), int(gid))
    os.umask(0o077)
    signal.signal(signal.SIGTERM, _leave)
    try:
        model = ModelDir.read(Path(folder), versioned=False)
        python = prepare(model, Path(cache), lambda line: print(line, file=sys.stderr, flush=True))
    except (EnvironmentFailed, ModelDirError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 1
    print(python)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
