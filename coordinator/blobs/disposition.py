"""How a stored file is to be shown: in the page, or only saved. Pure."""

import re
from urllib.parse import quote

OCTET_STREAM = "application/octet-stream"
_INLINE = ("image/", "audio/", "video/")
_SAFE_NAME = re.compile(r"[^ !#-\[\]-~]")
_MEDIA_TYPE = re.compile(r"[!#$&^_.+\w-]{1,127}/[!#$&^_.+\w-]{1,127}(?:; ?[\w-]+=[\w.+-]+)*", re.ASCII)


def disposition(name: str, content_type: str) -> str:
    """The Content-Disposition: what a browser could run as a page is only saved."""
    kind = content_type.partition(";")[0].strip().lower()
    inline = (kind.startswith(_INLINE) and not kind.startswith("image/svg")) or kind == "text/plain"
    plain = _SAFE_NAME.sub("_", name)
    text = f'{"inline" if inline else "attachment"}; filename="{plain}"'
    if plain != name:
        text += f"; filename*=UTF-8''{quote(name, safe='')}"
    return text


def media_type(text: str) -> str:
    """A content type that is safe as a header; anything else is just bytes."""
    return text if _MEDIA_TYPE.fullmatch(text) else OCTET_STREAM
