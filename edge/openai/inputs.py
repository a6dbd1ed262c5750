"""OpenAI's parameters as inputs of a model: by its configuration, else by the names that it has. Pure."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from edge.errors import InvalidField, Problem, invalid_input
from edge.inputs import VersionSchema
from edge.openai.words import Message
from edge.schemas import encode

NAMES: Mapping[str, tuple[str, ...]] = {
    "messages": ("messages",),
    "prompt": ("prompt", "text", "input", "query"),
    "system": ("system_prompt", "system"),
    "image": ("image", "image_input", "images", "input_image"),
    "max_tokens": (
        "max_tokens",
        "max_new_tokens",
        "max_output_tokens",
        "max_completion_tokens",
        "max_length",
    ),
    "temperature": ("temperature",),
    "top_p": ("top_p",),
    "stop": ("stop", "stop_sequences"),
    "seed": ("seed",),
    "frequency_penalty": ("frequency_penalty",),
    "presence_penalty": ("presence_penalty",),
    "reasoning_effort": ("reasoning_effort",),
    "n": ("num_outputs", "number_of_images", "num_images"),
    "size": ("size",),
    "width": ("width",),
    "height": ("height",),
    "aspect_ratio": ("aspect_ratio",),
    "output_format": ("output_format",),
    "quality": ("quality",),
    "style": ("style",),
    "background": ("background",),
}
"""The parameters that are mapped, and what inputs of that meaning are usually called, the likeliest first."""

_SYNONYMS = {"max_completion_tokens": "max_tokens"}
_OURS = frozenset({"messages", "prompt", "system", "image", "n", "size", "width", "height", "aspect_ratio"})
"""What is not simply given on."""
_ASKED_BY_US = frozenset({"model", "stream", "stream_options", "n", "user", "response_format", "metadata"})
_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})")
_SAYS = {"system": "System", "developer": "System", "user": "User", "assistant": "Assistant", "tool": "Tool"}


class Mapped:
    """Which input of a model takes which parameter."""

    def __init__(self, configured: Mapping[str, str], schema: VersionSchema) -> None:
        """``configured``: parameter to name of an input; an empty name is none."""
        self._properties = schema.properties
        self._configured = configured

    def of(self, parameter: str) -> str | None:
        """The input's name, or None when the model has none for it."""
        if parameter in self._configured:
            return self._configured[parameter] or None
        return next((name for name in NAMES.get(parameter, ()) if name in self._properties), None)

    def chat(self, messages: Sequence[Message], given: Mapping[str, Any]) -> dict[str, Any]:
        """The input of a chat. Raises Problem when the model takes no text."""
        found = self._given_on(given)
        if (name := self.of("messages")) is not None:
            found[name] = self._messages(name, given["messages"])
            return found
        prompt, system = self.of("prompt"), self.of("system")
        if prompt is None:
            raise self._cannot("chat")
        rest = list(messages)
        if system is not None:
            said = [_text(one) for one in rest if _SAYS.get(one.role) == "System"]
            rest = [one for one in rest if _SAYS.get(one.role) != "System"]
            if said:
                found[system] = "\n\n".join(said)
        images = [url for one in rest for url in _images(one)]
        if images:
            image = self.of("image")
            if image is None:
                raise invalid_input(InvalidField("enum", "messages", "This model takes no images"))
            found[image] = images if self._properties.get(image, {}).get("type") == "array" else images[-1]
        found[prompt] = conversation(rest)
        return found

    def images(self, prompt: str, given: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
        """The input of one prediction, and how many predictions it takes. Raises Problem."""
        name = self.of("prompt")
        if name is None:
            raise self._cannot("images")
        found = self._given_on(given)
        found[name] = prompt
        found |= self._size(given.get("size"))
        count = given.get("n") or 1
        several = self.of("n")
        if several is None:
            return found, count
        if count > 1 or "n" in given:
            found[several] = count
        return found, 1

    def _given_on(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """What goes to an input as it is: what is called as an input is, too. What the model has no input for
        is left out, as clients send much that they do not care about."""
        found: dict[str, Any] = {}
        for key, value in given.items():
            parameter = _SYNONYMS.get(key, key)
            if value is None or parameter in _OURS or key in _ASKED_BY_US:
                continue
            name = self.of(parameter)
            if name is None and key not in self._configured and key in self._properties:
                name = key
            if name is not None:
                found[name] = self._fitting(name, value)
        return found

    def _fitting(self, name: str, value: Any) -> Any:
        """``stop`` is a text or a list of texts; some models want the one, some the other."""
        kind = self._properties.get(name, {}).get("type")
        if kind == "string" and isinstance(value, list) and all(isinstance(one, str) for one in value):
            return ",".join(value)
        return [value] if kind == "array" and isinstance(value, str) else value

    def _messages(self, name: str, messages: Any) -> Any:
        return (
            encode(messages).decode() if self._properties.get(name, {}).get("type") == "string" else messages
        )

    def _size(self, size: Any) -> dict[str, Any]:
        if size is None or size == "auto":
            return {}
        match = _SIZE.fullmatch(size) if isinstance(size, str) else None
        if match is None or not all(map(int, match.groups())):
            raise invalid_input(InvalidField("format", "size", "Must be a size such as 1024x1024"))
        width, height = map(int, match.groups())
        if (name := self.of("size")) is not None:
            return {name: size}
        across, down = self.of("width"), self.of("height")
        if across is not None and down is not None:
            return {across: width, down: height}
        if (name := self.of("aspect_ratio")) is not None:
            common = math.gcd(width, height)
            return {name: f"{width // common}:{height // common}"}
        return {}

    def _cannot(self, what: str) -> Problem:
        detail = (
            f"This model has no input that takes a prompt, so it cannot do {what}. Its owner can name one: "
            """cogflare model set MODEL --openai '{"prompt": "NAME"}'"""
        )
        return invalid_input(InvalidField("enum", "model", detail))


def conversation(messages: Sequence[Message]) -> str:
    """One text for a model that takes no messages: a single one of the user as it is, others by who spoke."""
    if len(messages) == 1 and messages[0].role == "user":
        return _text(messages[0])
    said = [f"{_SAYS.get(one.role, one.role)}: {_text(one)}" for one in messages]
    return "\n\n".join([*said, "Assistant:"])


def _text(message: Message) -> str:
    if message.content is None or isinstance(message.content, str):
        return message.content or ""
    texts = (part.get("text") for part in message.content if part.get("type") == "text")
    return "\n".join(text for text in texts if isinstance(text, str))


def _images(message: Message) -> list[str]:
    parts = message.content if isinstance(message.content, list) else []
    found = [part.get("image_url") for part in parts if part.get("type") == "image_url"]
    urls = [each.get("url") if isinstance(each, dict) else each for each in found]
    return [url for url in urls if isinstance(url, str)]
