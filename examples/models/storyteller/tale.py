"""Tells one story from the grammar: a beginning, as much middle as there is room for, and an end."""

import random
import re
from collections.abc import Iterator

import grammar

_GAP = re.compile(r"\{(\w+)\}")
_ASKING = re.compile(
    r"^(please\s+)?((tell|write|give)\s+(me|us)?\s*)?((a|the|one)\s+)?((short|long|little|good)\s+)*"
    r"(story|tale|poem)\s+(about|of|on)\s+",
    re.IGNORECASE,
)


def topic_of(prompt: str) -> str:
    """What a prompt asks for, as words that can stand inside a sentence."""
    topic = _ASKING.sub("", " ".join(prompt.split())).strip(" .!?\"'")
    return topic or "nothing in particular"


def tell(prompt: str, words: int, seed: int) -> Iterator[str]:
    """Sentences of a story of at most ``words`` words, if an opening and an ending fit into them."""
    topic = topic_of(prompt)
    # A string seeds the same numbers in every version of Python and on every machine.
    dice = random.Random(f"{seed} {topic}")
    name, they, their, them = dice.choice(grammar.HEROES)
    cast = {key: dice.choice(choices) for key, choices in grammar.CAST.items()}
    cast |= {
        "hero": name,
        "Hero": name,
        "they": they,
        "They": they.capitalize(),
        "their": their,
        "them": them,
    }
    friend, thing = _noun(cast["friend"]), _noun(cast["thing"])
    cast |= {"topic": topic, "friend_short": f"the {friend}", "Friend_short": f"The {friend}"}
    cast["thing_short"] = f"the {thing}"

    def fill(sentence: str) -> str:
        def gap(match: re.Match[str]) -> str:
            key = match[1]
            return cast[key] if key in cast else fill(dice.choice(grammar.WORDS[key]))

        return _GAP.sub(gap, sentence)

    opening = f"{fill(dice.choice(grammar.OPENINGS))} {fill(dice.choice(grammar.INTRODUCTIONS))}"
    ending = fill(dice.choice(grammar.ENDINGS))
    yield opening
    left = words - _count(opening) - _count(ending)
    waiting: list[str] = []
    while left > 0:
        if not waiting:
            waiting = dice.sample(grammar.MIDDLES, len(grammar.MIDDLES))
        sentence = fill(waiting.pop())
        left -= _count(sentence)
        if left >= 0:
            yield sentence
    yield ending


def _noun(phrase: str) -> str:
    """``cat`` of ``a one-eyed cat``: the last word before anything that says more about it."""
    return re.split(r" (?:with|without|who|that|named|of)\b", phrase)[0].split()[-1]


def _count(sentence: str) -> int:
    return len(sentence.split())
