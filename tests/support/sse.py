"""A reader of event streams by the letter of the HTML standard, 9.2.6; it shares nothing with our code."""

from typing import NamedTuple


class Event(NamedTuple):
    event: str
    id: str
    data: str


def parse(stream: bytes) -> tuple[list[Event], int | None]:
    """What a browser would dispatch of a stream that is over, and the reconnection time that was set."""
    text = stream.decode("utf-8", "replace")
    if text.startswith("\ufeff"):
        text = text[1:]
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    events: list[Event] = []
    last_id, name, data, retry = "", "", "", None
    # What is not ended by an empty line is not dispatched.
    for line in text.split("\n")[:-1]:
        if line == "":
            if data:
                events.append(Event(name or "message", last_id, data.removesuffix("\n")))
            name, data = "", ""
            continue
        if line.startswith(":"):
            continue
        field, colon, value = line.partition(":")
        if colon and value.startswith(" "):
            value = value[1:]
        if field == "event":
            name = value
        elif field == "data":
            data += value + "\n"
        elif field == "id":
            if "\0" not in value:
                last_id = value
        elif field == "retry" and value.isascii() and value.isdigit():
            retry = int(value)
    return events, retry
