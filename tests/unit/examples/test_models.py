"""The parts of the example models that need no runtime; the whole of them runs in the acceptance tests."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

MODELS = Path(__file__).parents[3] / "examples" / "models"


@pytest.fixture
def model(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The folder of one model as the place that modules come from, as the runner has it."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(MODELS / request.param)
    yield
    for name in set(sys.modules) - before:
        if str(MODELS) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


storyteller = pytest.mark.parametrize("model", ["storyteller"], indirect=True)
landscape = pytest.mark.parametrize("model", ["landscape"], indirect=True)
restyle = pytest.mark.parametrize("model", ["restyle"], indirect=True)


@storyteller
def test_a_story_fills_its_gaps_and_keeps_to_its_length(model: None) -> None:
    from tale import tell

    for seed in range(300):
        for words in (80, 400):
            story = " ".join(tell("the sea at night", words, seed))
            assert "{" not in story
            assert "the sea at night" in story
            assert len(story.split()) <= words


@storyteller
def test_a_story_depends_on_prompt_and_seed_alone(model: None) -> None:
    from tale import tell

    assert list(tell("owls", 120, 1)) == list(tell("owls", 120, 1))
    assert list(tell("owls", 120, 1)) != list(tell("owls", 120, 2))


@storyteller
@pytest.mark.parametrize(
    ("prompt", "topic"),
    [
        ("Tell me a story about lost umbrellas.", "lost umbrellas"),
        ("write a short poem on  the tide", "the tide"),
        ("my grandmother", "my grandmother"),
        ("?", "nothing in particular"),
    ],
)
def test_what_a_prompt_asks_for(model: None, prompt: str, topic: str) -> None:
    from tale import topic_of

    assert topic_of(prompt) == topic


@landscape
@pytest.mark.parametrize("hour", ["dawn", "day", "sunset", "moonlight", "aurora"])
def test_a_landscape_develops_in_steps_and_looks_the_same_again(model: None, hour: str) -> None:
    from develop import develop
    from light import HOURS

    first, again = (list(develop(3, HOURS[hour], (160, 100), 3)) for _ in range(2))
    assert [picture.size for picture in first] == [(160, 100)] * 3
    assert [picture.tobytes() for picture in first] == [picture.tobytes() for picture in again]
    assert len({picture.tobytes() for picture in first}) == 3


@restyle
@pytest.mark.parametrize("style", ["duotone", "halftone", "pixel", "ink", "poster"])
@pytest.mark.parametrize("size", [(1, 1), (37, 5), (120, 90)])
def test_a_style_keeps_the_size_and_changes_the_picture(
    model: None, style: str, size: tuple[int, int]
) -> None:
    from styles import STYLES

    picture: Any = Image.linear_gradient("L").resize(size).convert("RGB")
    drawn = STYLES[style](picture)
    assert (drawn.size, drawn.mode) == (size, "RGB")
    if min(size) > 50:
        assert drawn.tobytes() != picture.tobytes()
