"""How many examples generated tests run: the same few in `make test`, many new ones in `make soak`."""

from hypothesis import HealthCheck, settings

SOAK = "soak"
_TIMES = 100


def examples(few: int) -> settings:
    soaking = settings.get_current_profile_name() == SOAK
    return settings(
        max_examples=few * _TIMES if soaking else few,
        derandomize=not soaking,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
