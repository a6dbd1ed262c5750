"""Which word follows which: learned from a text, kept as JSON, and told on."""

import json
import random
from collections import defaultdict
from itertools import pairwise

PROVERBS = """
the early bird catches the worm . the second mouse gets the cheese . a watched pot never boils .
a rolling stone gathers no moss . the pen is mightier than the sword . the squeaky wheel gets the grease .
"""


def learn(text: str) -> dict[str, list[str]]:
    """The words that follow each word of a text. Raises ValueError for a text of fewer than two words."""
    words = text.split()
    if len(words) < 2:
        raise ValueError("the text must have at least two words")
    follows: dict[str, list[str]] = defaultdict(list)
    for word, following in pairwise(words):
        follows[word].append(following)
    return dict(follows)


def tell(follows: dict[str, list[str]], words: int, seed: int) -> str:
    chance = random.Random(seed)
    word = chance.choice(sorted(follows))
    told = [word]
    while len(told) < words:
        word = chance.choice(follows.get(word) or sorted(follows))
        told.append(word)
    return " ".join(told)


def save(follows: dict[str, list[str]]) -> str:
    return json.dumps(follows)


def load(weights: str) -> dict[str, list[str]]:
    follows = json.loads(weights)
    if not isinstance(follows, dict) or not follows:
        raise ValueError("these weights are not of this model")
    return follows
