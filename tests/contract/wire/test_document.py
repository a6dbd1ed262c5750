"""PROTOCOL.md names what the code has: every message, field, close code and channel state."""

import re
import typing
from pathlib import Path

import msgspec
import pytest

from coordinator.protocol import messages
from coordinator.protocol.channels import ChannelState
from coordinator.protocol.errors import CloseCode

TEXT = (Path(messages.__file__).parent / "PROTOCOL.md").read_text()
ROWS = {match[1]: match[0] for match in re.finditer(r"^\| `(\w+)` \|.*$", TEXT, re.MULTILINE)}
KINDS = [*typing.get_args(messages.AgentMessage), *typing.get_args(messages.ServerMessage)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_messages_and_their_fields(kind):
    row = ROWS[kind.__struct_config__.tag]
    for field in msgspec.structs.fields(kind):
        assert f"`{field.name}`" in row, field.name


@pytest.mark.parametrize(
    "part", [messages.Held, messages.Event, messages.StoredFile, messages.Verdict, messages.PartTo]
)
def test_parts_of_messages(part):
    names = [field.name for field in msgspec.structs.fields(part)]
    optional = {field.name for field in msgspec.structs.fields(part) if not field.required}
    written = ", ".join(name + "?" * (name in optional) for name in names)
    assert "{" + written + "}" in TEXT


def test_close_codes_and_states():
    for code in CloseCode:
        assert f"\n| {code.value} |" in TEXT
    for state in ChannelState:
        assert f"\n| {state.value} |" in TEXT


def test_names_of_the_connection():
    assert messages.SUBPROTOCOL in TEXT
    assert messages.PATH in TEXT
    assert messages.BLOB_REFERENCE in TEXT
