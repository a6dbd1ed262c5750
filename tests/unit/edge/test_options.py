"""Settings dataclasses as options: names, precedence, kinds, bounds, and what is said of a bad value."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from edge.arguments import parse, parser_of
from edge.exits import CommandFailed, ExitCode
from edge.options import BadOption, build, nearest, options_of, unknown_variables
from edge.quantities import format_duration, format_size, parse_duration, parse_size


@dataclass(frozen=True)
class Inner:
    body_bytes: int = field(default=8 * 1024 * 1024, metadata={"help": "largest body"})
    wait_s: float = field(default=55.0, metadata={"help": "longest wait"})


@dataclass(frozen=True)
class Sample:
    name: str = field(metadata={"help": "what it is for", "positional": True})
    key: str = field(metadata={"help": "a key"})
    port: int = field(default=8000, metadata={"help": "a port", "minimum": 0, "maximum": 65535})
    ratio: float = field(default=0.5, metadata={"help": "100% of something"})
    quiet: bool = field(default=False, metadata={"help": "say less"})
    color: bool = field(default=True, metadata={"help": "use color"})
    mode: Literal["fast", "safe"] = field(default="safe", metadata={"help": "how"})
    data: Path | None = field(default=None, metadata={"help": "where"})
    models: tuple[str, ...] = field(default=(), metadata={"help": "which", "option": "model"})
    secret_s: float = field(default=0.0, metadata={"help": "x", "hidden": True})
    inner: Inner = field(default_factory=Inner, metadata={"help": "Limits"})


def read(*arguments: str, **environ: str) -> Sample:
    return parse(Sample, "prog", "about", ["n", "--key", "k", *arguments], environ)


def refusal(*arguments: str, **environ: str) -> str:
    with pytest.raises(CommandFailed) as raised:
        read(*arguments, **environ)
    assert raised.value.code == ExitCode.USAGE
    assert "\n" not in raised.value.line()
    return raised.value.message


def test_defaults_of_nested_groups_stand_when_nothing_is_given() -> None:
    assert read() == Sample(name="n", key="k")


def test_the_command_line_wins_over_the_environment() -> None:
    assert read(COGFLARE_PORT="1").port == 1
    assert read("--port", "2", COGFLARE_PORT="1").port == 2
    assert read("--port", "2", "--port=3").port == 3
    assert read(COGFLARE_PORT="").port == 8000


def test_every_kind_is_read_from_both_sources() -> None:
    given = read(
        *("--ratio", "0.25", "--quiet", "--no-color", "--mode", "fast", "--data", "/d"),
        *("--model", "a=1", "--model", "b=2,c=3", "--body-bytes", "1MiB", "--wait-s", "2m"),
    )
    same = read(
        COGFLARE_RATIO="0.25",
        COGFLARE_QUIET="on",
        COGFLARE_COLOR="no",
        COGFLARE_MODE="fast",
        COGFLARE_DATA="/d",
        COGFLARE_MODEL="a=1, b=2,c=3",
        COGFLARE_BODY_BYTES="1MiB",
        COGFLARE_WAIT_S="2m",
    )
    assert given == same
    assert given == Sample(
        name="n",
        key="k",
        ratio=0.25,
        quiet=True,
        color=False,
        mode="fast",
        data=Path("/d"),
        models=("a=1", "b=2", "c=3"),
        inner=Inner(body_bytes=1024 * 1024, wait_s=120.0),
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--port", "x"), "--port: 'x' is not a whole number"),
        (("--port", "70000"), "--port: 70000 is above 65535"),
        (("--port", "-1"), "--port: -1 is below 0"),
        (("--ratio", "nan"), "--ratio: 'nan' is not a number"),
        (("--mode", "fats"), "--mode: 'fats' is none of fast, safe (did you mean fast?)"),
        (("--body-bytes", "1.5"), "--body-bytes: '1.5' is not a whole number of bytes"),
        (("--body-bytes", "0"), "--body-bytes: 0 bytes is below 1 bytes"),
        (("--wait-s=-5m",), "--wait-s: -300s is below 0s"),
        (("--wait-s", "soon"), "--wait-s: 'soon' is not a time such as 90 (seconds), 5m or 250ms"),
        (("--prot", "1"), "there is no option --prot (did you mean --port?)"),
        (("--model",), "--model needs a value"),
        (("--quiet=1",), "--quiet takes no value"),
        (("extra",), "unexpected argument 'extra'"),
    ],
)
def test_a_bad_argument_is_one_line_that_names_it(arguments: tuple[str, ...], message: str) -> None:
    assert refusal(*arguments) == message


def test_a_bad_variable_is_named() -> None:
    assert refusal(COGFLARE_QUIET="maybe") == "COGFLARE_QUIET: 'maybe' is not on or off"


def test_what_is_needed_is_said_with_both_names() -> None:
    with pytest.raises(BadOption, match="--key or COGFLARE_KEY is needed: a key"):
        build(Sample, {"name": ["n"]}, {})
    with pytest.raises(BadOption, match="NAME is needed"):
        build(Sample, {"key": ["k"]}, {"COGFLARE_NAME": "an argument has no variable"})


def test_help_shows_default_unit_and_variable() -> None:
    text = " ".join(parser_of(options_of(Sample), "prog", "about").format_help().split())
    assert "--port N a port [default 8000; COGFLARE_PORT]" in text
    assert "--body-bytes SIZE largest body [default 8MiB; COGFLARE_BODY_BYTES]" in text
    assert "--wait-s TIME longest wait [default 55s; COGFLARE_WAIT_S]" in text
    assert "100% of something" in text
    assert "NAME what it is for" in text
    assert "--key KEY a key [needed; COGFLARE_KEY]" in text
    assert "--no-color turn --color off" in text
    assert "secret" not in text


def test_two_options_of_one_name_are_a_mistake_of_ours() -> None:
    @dataclass(frozen=True)
    class Twice:
        wait_s: float = field(default=1.0, metadata={"help": "a"})
        inner: Inner = field(default_factory=Inner, metadata={"help": "b"})

    with pytest.raises(TypeError, match="two options named wait-s"):
        options_of(Twice)


def test_unknown_variables_are_told_with_the_nearest_known_one() -> None:
    found = unknown_variables({"COGFLARE_PROT": "1", "COGFLARE_PORT": "1", "HOME": "/"}, ["COGFLARE_PORT"])
    assert found == ["COGFLARE_PROT is not a setting and is ignored (did you mean COGFLARE_PORT?)"]
    assert nearest("zzz", ["port"]) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8MiB", 8 * 1024**2),
        ("8 mib", 8 * 1024**2),
        ("1k", 1000),
        ("12", 12),
        ("1.5KiB", 1536),
        ("2GB", 2 * 10**9),
    ],
)
def test_sizes(text: str, value: int) -> None:
    assert parse_size(text) == value


@pytest.mark.parametrize(
    ("text", "value"), [("90", 90.0), ("250ms", 0.25), ("1.5m", 90.0), ("2h", 7200.0), ("1d", 86400.0)]
)
def test_durations(text: str, value: float) -> None:
    assert parse_duration(text) == value


def test_quantities_are_written_the_way_they_are_read() -> None:
    assert [format_size(n) for n in (1024, 8 * 1024**2, 1000, 5 * 1024**3)] == [
        "1KiB",
        "8MiB",
        "1000 bytes",
        "5GiB",
    ]
    assert [format_duration(n) for n in (0.25, 55, 120, 3600, 86400, 90, 0)] == [
        "250ms",
        "55s",
        "2m",
        "1h",
        "1d",
        "90s",
        "0s",
    ]
    for text in ("", "MiB", "8 MiB MiB", "eight", "8XB", "1e3"):
        with pytest.raises(ValueError, match="is not a"):
            parse_size(text)
