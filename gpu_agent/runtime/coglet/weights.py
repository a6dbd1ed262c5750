"""What ``setup(self, weights)`` gets: ``COG_WEIGHTS``, or ``weights`` in the model's folder, or None."""

import os
from typing import Any

from coglet.mistakes import LoadError


def find_weights(wanted: str) -> Any:
    """In the form that ``setup`` is annotated with: "path", "file" or "str". Raises ``LoadError``.

    A URL is downloaded for a path or a file, to stay for as long as the machine keeps it; a "str" gets it as
    it is.
    """
    given = os.environ.get("COG_WEIGHTS") or ("weights" if os.path.exists("weights") else None)
    if given is None or wanted == "str":
        return given
    path = _local(given)
    if wanted == "file":
        return open(path, "rb")  # noqa: SIM115 - the model's to close
    from cog.types import Path

    return Path(path)


def _local(given: str) -> str:
    if given.startswith(("http://", "https://", "data:")):
        return _download(given)
    if not os.path.exists(given):
        raise LoadError(f"COG_WEIGHTS names {given}, which is not there")
    return given


def _download(url: str) -> str:
    import shutil
    import tempfile

    from cog.remote import URLFile

    source = URLFile(url)
    target = os.path.join(tempfile.mkdtemp(prefix="weights-"), source.name)
    print(f"downloading the weights to {target}", flush=True)
    try:
        with source, open(target, "wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
    except (OSError, ValueError) as error:
        raise LoadError(f"the weights that COG_WEIGHTS names cannot be had: {error}") from None
    return target
