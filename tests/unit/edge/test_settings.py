"""The settings of the real commands: options that hold together."""

import importlib

import pytest

from coordinator.protocol.limits import ServerLimits, WireLimits
from edge.cli import COMMANDS
from edge.options import build, options_of
from edge.settings import ServeSettings


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_options_with_help(name: str) -> None:
    module = importlib.import_module(COMMANDS[name].module)
    assert module.ABOUT
    for option in options_of(module.SETTINGS):
        assert option.help, option.name
        assert not option.help.endswith("."), option.name


def test_every_limit_is_an_option_of_serve() -> None:
    names = {option.path[-1] for option in options_of(ServeSettings)}
    for limits in (ServerLimits, WireLimits):
        assert set(limits.__dataclass_fields__) <= names


def test_limits_are_set_where_they_belong() -> None:
    settings = build(ServeSettings, {"queue-length": ["7"], "beat-s": ["1s"]}, {"COGFLARE_RUN_S": "1h"})
    assert settings.limits.queue_length == 7
    assert settings.limits.run_s == 3600.0
    assert settings.wire.beat_s == 1.0


def test_the_default_data_directory_is_in_the_users_home() -> None:
    assert build(ServeSettings, {}, {}).data.is_absolute()
