"""Which predictions may run at a provider, and where it reaches us."""

from dataclasses import replace

import pytest
from msgspec import structs

from coordinator.overflow.policy import Overflow
from coordinator.store.config import ModelConfig
from edge.auth import Principal
from edge.catalog import Target
from edge.inputs import FORGOTTEN
from edge.overflow import overflow_of, policy_of, reachable

PRINCIPAL = Principal(
    token="tok_1",
    account="acme",
    scopes=frozenset({"submit"}),
    pools=("default",),
    models=(),
    name="one",
    replicate=True,
)
TARGET = Target(
    pools=("default",),
    model="acme/greeter",
    pinned="",
    version="a" * 64,
    schema=FORGOTTEN,
    config=ModelConfig(),
)


def with_config(**fields: object) -> Target:
    return structs.replace(TARGET, config=ModelConfig(**fields))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("never", None),
        ("no_workers", ("no_workers", 0.0)),
        ("saturated", ("saturated", 0.0)),
        ("always", ("always", 0.0)),
        ("wait_over:20s", ("wait_over", 20.0)),
        ("wait_over:1.5", ("wait_over", 1.5)),
        ("wait_over:5m", ("wait_over", 300.0)),
    ],
)
def test_policies(text: str, policy: object) -> None:
    assert policy_of(text) == policy


@pytest.mark.parametrize(
    "text", ["", "sometimes", "wait_over", "wait_over:", "wait_over:soon", "wait_over:-1", "always:1"]
)
def test_what_is_no_policy(text: str) -> None:
    with pytest.raises(ValueError, match="is "):
        policy_of(text)


def test_a_token_with_a_key_has_the_rule_of_2022() -> None:
    assert overflow_of(PRINCIPAL, TARGET) == Overflow(when="saturated", model="acme/greeter")


def test_a_token_without_a_key_has_none() -> None:
    assert overflow_of(replace(PRINCIPAL, replicate=False), with_config(overflow="always")) is None


def test_what_a_model_says() -> None:
    assert overflow_of(PRINCIPAL, with_config(overflow="never")) is None
    target = with_config(
        overflow="wait_over:20s", replicate_model=f"meta/llama:{'b' * 64}", replicate_price=0.001
    )
    assert overflow_of(PRINCIPAL, target) == Overflow(
        when="wait_over", wait_s=20.0, model="meta/llama", version="b" * 64, price_s=0.001
    )


def test_the_version_that_it_is_pinned_to_goes_along() -> None:
    pinned = structs.replace(TARGET, pinned="c" * 64)
    found = overflow_of(PRINCIPAL, pinned)
    assert found is not None and found.version == "c" * 64


@pytest.mark.parametrize(
    ("ours", "theirs", "base"),
    [
        ("https://api.example.org/", "https://api.replicate.com", "https://api.example.org"),
        ("http://api.example.org", "https://api.replicate.com", ""),
        ("http://127.0.0.1:8000", "https://api.replicate.com", ""),
        ("http://127.0.0.1:8000", "http://127.0.0.1:9000", "http://127.0.0.1:8000"),
        ("http://127.0.0.1:8000", "http://10.0.0.7:8000", ""),
        ("http://10.0.0.5:8000", "http://10.0.0.7:8000", "http://10.0.0.5:8000"),
        ("http://127.0.0.1:8000", "", ""),
    ],
)
def test_where_the_provider_reaches_us(ours: str, theirs: str, base: str) -> None:
    assert reachable(ours, theirs) == base
