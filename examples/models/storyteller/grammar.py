"""What stories are made of: sentences with gaps, and what may stand in a gap.

``{name}`` is filled from the list of that name. A word in ``CAST`` is chosen once and stays for the whole
story. ``{They}``, ``{they}``, ``{their}`` and ``{them}`` follow the hero, ``{topic}`` is what the story was
asked to be about.
"""

HEROES = (
    ("Mirela", "she", "her", "her"),
    ("Tobias", "he", "his", "him"),
    ("Old Anselm", "he", "his", "him"),
    ("Ines", "she", "her", "her"),
    ("Captain Wren", "she", "her", "her"),
    ("Jonah", "he", "his", "him"),
    ("Signe", "she", "her", "her"),
    ("Baptiste", "he", "his", "him"),
)

CAST = {
    "trade": (
        "lighthouse keeper",
        "mapmaker",
        "clock mender",
        "ferry pilot",
        "bell founder",
        "beekeeper",
        "piano tuner",
        "night baker",
    ),
    "place": (
        "a town built on stilts",
        "the last village before the snow",
        "a corner of the coast that the maps forgot",
        "a harbour where it always smelled of oranges",
        "a valley that kept its own weather",
        "a city of a hundred and one staircases",
    ),
    "friend": (
        "a one-eyed cat",
        "a jackdaw with opinions",
        "an elderly goat",
        "a very small dog",
        "a heron who disliked company",
        "a tortoise named Thursday",
    ),
    "thing": (
        "a brass key without a lock",
        "a letter that had never been opened",
        "a lantern that burned blue",
        "half of a map",
        "a music box with one missing note",
        "a jar of fireflies",
    ),
}

OPENINGS = (
    "In {place}, where people seldom asked about {topic}, there lived a {trade} called {hero}.",
    "Everybody in {place} had something to say about {topic}, except {hero} the {trade}, who had seen it.",
    "{hero} was a {trade} in {place}, and had promised never to speak of {topic} before breakfast.",
    "The night that {topic} came up again, {hero} the {trade} was the only one awake in {place}.",
    "Long after {place} had gone to sleep, {hero} the {trade} sat up and thought about {topic}.",
)

INTRODUCTIONS = (
    "{They} shared the house with {friend}, and kept {thing} on the windowsill.",
    "{They} owned {thing}, and was in some sense owned by {friend}.",
    "For company there was {friend}; for rainy days there was {thing}.",
)

MIDDLES = (
    "{Friend_short} watched from the {high} and pretended not to.",
    "It rained {rain}, and the streets shone like {shine}.",
    "'{Advice},' said {friend_short}, who was rarely wrong and never modest.",
    "So {they} packed {provisions}, locked the door out of habit, and walked towards {direction}.",
    "On the {ordinal} evening somebody knocked {knock} times. It was {visitor}, asking whether anyone here "
    "still believed in {topic}.",
    "{Hero} laughed, then noticed that nobody else did.",
    "There was {sound} in the distance, the kind that makes you {react}.",
    "For {span} nothing happened at all, which in that place was considered polite.",
    "The wind turned {turned} and brought with it the smell of {smell}.",
    "{They} held {thing_short} up to the light, and the light {light_did}.",
    "Somewhere below, {below}.",
    "'I have been looking for you,' said a voice at the door, 'since {since}.' {Hero} had no answer to that, "
    "so {they} made tea.",
    "Together they crossed {crossing}, counting {counted} to keep from being afraid.",
    "{Friend_short} found the way, as usual, by going the wrong way first.",
    "By then the moon stood over the {over}, round and {moon} and in no hurry.",
    "{They} thought of {topic}, and for the first time it did not seem so far away.",
    "Whatever {thing_short} was waiting for, it was not waiting any more.",
    "The old people say that {saying}.",
)

ENDINGS = (
    "And if you pass that way, {they} will tell you the rest, for the price of a {price}.",
    "In the morning {thing_short} was gone, and in its place stood {left}.",
    "{Hero} never explained it, but from then on the window was left open.",
    "That is all that is known about {topic}; the rest is weather.",
    "After that {they} slept, and {friend_short} kept watch, and the tide did what tides do.",
)

WORDS = {
    "high": ("chimney", "garden wall", "highest shelf", "weathervane", "roof of the post office"),
    "rain": ("sideways", "for three days", "as if it had been paid to", "only on the left side of the road"),
    "shine": ("the backs of fish", "poured tin", "a piano lid", "new coins"),
    "Advice": (
        "Never follow a light that follows you",
        "Begin with the door you are afraid of",
        "A map is only a rumour with lines",
        "Listen twice, then run",
        "Anything lost is merely early",
    ),
    "provisions": (
        "bread, string and a spare hat",
        "two apples and a book without an ending",
        "a kettle, because one never knows",
        "nothing but {their} second-best coat",
    ),
    "direction": ("the sea", "the sound", "the hills", "whatever was glowing", "the end of the pier"),
    "ordinal": ("third", "seventh", "longest", "first warm", "very last"),
    "knock": ("three", "four", "exactly eleven", "one and a half"),
    "visitor": (
        "a postman with an empty bag",
        "a girl carrying a ladder",
        "a sailor who had walked the whole way",
        "somebody with {their} own face, only younger",
    ),
    "sound": ("a bell", "an accordion", "a long low whistle", "the slow beat of oars", "somebody humming"),
    "react": ("count your spoons", "put on your boots", "remember a birthday", "speak more softly"),
    "span": ("a week", "an hour", "the length of a song", "most of October"),
    "turned": ("north", "warm", "about", "to face the town"),
    "smell": ("snow", "cinnamon and tar", "apples", "far-off thunder", "ink"),
    "light_did": ("bent", "hesitated", "went straight through", "answered", "turned gold"),
    "below": (
        "a door opened that had been painted on a wall",
        "the harbour began to sing, one boat after another",
        "all the clocks agreed for once",
        "the river stopped to listen",
        "a train left a station that nobody had built",
    ),
    "since": (
        "the winter of the green snow",
        "before you were born",
        "Tuesday",
        "the tide forgot to come in",
    ),
    "crossing": ("the frozen lake", "the bridge of ropes", "the market at midnight", "the orchard of bells"),
    "counted": ("steps", "stars", "owls", "the lamps that were still lit"),
    "over": ("rooftops", "water", "black pines", "railway yard"),
    "moon": ("yellow", "patient", "pale as milk", "slightly amused"),
    "saying": (
        "a story walks faster than the one who tells it",
        "every harbour is the middle of some voyage",
        "you may keep what you can describe",
        "the dark is only the back of the light",
    ),
    "price": ("warm bun", "good question", "secret", "song that {they} does not know"),
    "left": (
        "a small tree with silver leaves",
        "a chair, still rocking",
        "a bowl of plums and a note that said 'thank you'",
        "a door, ajar",
    ),
}
