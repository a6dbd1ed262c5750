"""The corpus of messages: each is understood by the end that receives it, and written the same by the other.

``corpus/agent`` and ``corpus/server`` hold what each end sends; a file is named after its type and, behind a
dash, what is special about it. Implementers of other agents may use them as they are.
"""

import typing
from pathlib import Path

import msgspec
import pytest

from coordinator.protocol import messages
from coordinator.protocol.frames import AGENT_TAGS, SERVER_TAGS, decode_frame

CORPUS = Path(__file__).parent / "corpus"
FROM_AGENT = sorted((CORPUS / "agent").glob("*.json"))
FROM_SERVER = sorted((CORPUS / "server").glob("*.json"))
ENDS = [(path, messages.decode_from_agent, AGENT_TAGS) for path in FROM_AGENT] + [
    (path, messages.decode_from_server, SERVER_TAGS) for path in FROM_SERVER
]


@pytest.mark.parametrize(("path", "decode", "tags"), ENDS, ids=lambda value: getattr(value, "stem", ""))
def test_read_and_written_the_same(path, decode, tags):
    text = path.read_text()
    message = decode_frame(text, decode, tags, 1 << 20)
    assert message.__struct_config__.tag == path.stem.partition("-")[0]
    assert msgspec.json.decode(messages.encode(message)) == msgspec.json.decode(text)


@pytest.mark.parametrize(("path", "decode", "tags"), ENDS, ids=lambda value: getattr(value, "stem", ""))
def test_fields_of_a_newer_peer_are_ignored(path, decode, tags):
    plain = msgspec.json.decode(path.read_text())
    message = decode(msgspec.json.encode(plain | {"from_the_future": [1, {"a": None}]}))
    assert msgspec.json.decode(messages.encode(message)) == plain


def test_every_type_is_in_the_corpus():
    def named(paths):
        return {path.stem.partition("-")[0] for path in paths}

    assert named(FROM_AGENT) == AGENT_TAGS
    assert named(FROM_SERVER) == SERVER_TAGS


def test_every_field_is_in_the_corpus():
    seen: dict[str, set[str]] = {}
    for path in FROM_AGENT + FROM_SERVER:
        body = msgspec.json.decode(path.read_text())
        seen.setdefault(body.pop("type"), set()).update(body)
    for union in (messages.AgentMessage, messages.ServerMessage):
        for kind in typing.get_args(union):
            tag = kind.__struct_config__.tag
            assert seen[tag] == {field.name for field in msgspec.structs.fields(kind)}, tag
