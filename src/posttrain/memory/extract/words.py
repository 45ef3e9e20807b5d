"""The vocabulary: English verbs of agents with what they do to a state, words of states, directions and common keys."""

from __future__ import annotations

import re

from posttrain.text import words_of


def vocabulary(words: str) -> frozenset[str]:
    """The words of a list that is written as one text."""
    return frozenset(words_of(words))


_KINDS = {
    "take": "take takes took taken get gets got grab grabs grabbed pick picks picked pickup collect collects collected "
    "fetch fetched remove removed steal stole withdraw lift lifts lifted acquire acquired",
    "put": "put puts place places placed insert inserts inserted move moves moved set leave left store stored stash "
    "deposit deposited hang hung load loaded give gave hand handed throw threw",
    "drop": "drop drops dropped discard discarded",
    "open": "open opens opened",
    "close": "close closes closed shut",
    "lock": "lock locks locked",
    "unlock": "unlock unlocks unlocked",
    "go": "go goes went gone walk walks walked enter enters entered head heads headed travel arrive arrives arrived "
    "run climb exit navigate return reach reached goto cross crossed proceed",
    "look": "look looks examine examines inspect read reads search check inventory view describe help wait observe "
    "list show watch think status score print find grep scroll hover cat ls head tail see query select fetch_url",
    "use": "use press push pull turn switch activate toggle interact do click type write say hit operate rotate flip "
    "edit update create delete run execute submit fill",
    "on": "light lit",
    "off": "extinguish extinguished",
    "cook": "cook cooks cooked fry fried roast roasted grill grilled bake baked boil boiled",
    "heat": "heat heats heated warm warmed",
    "cool": "cool cools cooled chill chilled freeze",
    "clean": "clean cleans cleaned wash washed rinse rinsed",
    "slice": "slice sliced chop chopped dice diced cut",
    "eat": "eat eats ate eaten drink drank consume consumed",
    "break": "break broke broken smash smashed destroy destroyed",
    "repair": "repair repaired fix fixed",
    "wear": "wear wore don equip equipped",
}
VERBS = {word: kind for kind, words in _KINDS.items() for word in words.split()}
"""Each form of a verb to its kind."""

PHRASES = {
    ("pick", "up"): "take",
    ("take", "off"): "take",
    ("put", "down"): "drop",
    ("set", "down"): "drop",
    ("put", "on"): "put",
    ("turn", "on"): "on",
    ("switch", "on"): "on",
    ("turn", "off"): "off",
    ("switch", "off"): "off",
    ("turned", "on"): "on",
    ("switched", "on"): "on",
    ("turned", "off"): "off",
    ("switched", "off"): "off",
    ("picked", "up"): "take",
    ("picks", "up"): "take",
    ("lift", "up"): "take",
}
"""Verbs of two words."""

EFFECTS = {"open": "open", "close": "closed", "lock": "locked", "unlock": "unlocked", "on": "on", "off": "off"}
"""Kinds that set `state`, with its value."""

TREATMENTS = {
    "cook": "cooked",
    "heat": "heated",
    "cool": "cooled",
    "clean": "clean",
    "slice": "sliced",
    "eat": "eaten",
    "break": "broken",
    "repair": "repaired",
    "wear": "worn",
}
"""Kinds that set `condition`, with its value."""

CONDITION = "condition"

BACK = {kind: re.compile(rf"\b(?:{'|'.join(words.split())})\b", re.IGNORECASE) for kind, words in _KINDS.items()}
"""Each kind to any of its forms."""

DIRECTIONS = vocabulary(
    "north south east west northeast northwest southeast southwest up down left right forward forwards backward "
    "backwards back in out inside outside upstairs downstairs n s e w ne nw se sw"
)

STATES = vocabulary(
    "open opened closed shut locked unlocked ajar on off lit unlit empty full broken intact fixed active inactive "
    "enabled disabled running stopped started paused alive dead hot cold warm cool clean dirty wet dry raw cooked "
    "fried roasted grilled burned burnt sliced diced chopped heated cooled frozen blocked clear occupied free busy "
    "available unavailable online offline connected disconnected visible hidden selected checked unchecked expanded "
    "collapsed pending done failed passed complete completed incomplete ready idle worn carried held true false yes no "
    "powered unpowered charged sealed unsealed charging jammed stuck green red yellow up down"
)
"""Words that are values of `state`."""

ADJECTIVES = vocabulary("open closed shut locked unlocked ajar lit unlit empty broken sealed")
"""Words that tell a state before a noun; all others are taken for a part of the name."""

NOTHING = vocabulary("nothing none empty empty-handed nobody")
"""What lists say that have no items."""

PLACES = vocabulary(
    "location place room where container position area zone current_room current_location located_in in holder parent "
    "room_name you_are_in here at"
)
"""Keys and headers whose value is the place of an entity."""

CARRY = vocabulary(
    "inventory carrying holding held carried hands hand bag backpack you_carry you_are_carrying you_hold you_have"
)
"""Keys of what the agent carries."""

HOLDS = vocabulary(
    "contents contains content_list holds inside items objects things visible you_see see seen holding_items entities "
    "things_here items_here on_floor floor ground loose"
)
"""Keys of what is in a container or a room."""

EXITS = vocabulary("exits exit doors paths ways directions connections")
"""Keys of the ways out of a room."""

STATUS = vocabulary("state states status statuses condition conditions")
"""Keys of states."""

NAMES = {
    word: place
    for place, word in enumerate(
        words_of(
            "name id item object entity thing key label title uuid node file path filename element container device "
            "variable column table user product symbol service host sku ref door"
        )
    )
}
"""Keys and headers whose value names the entity of a record, with their order: the first of them does."""

HINTS = re.compile(
    r"^\W*(?:the |your |you can )?(?:current(?:ly)? )?"
    r"(?:available|admissible|possible|valid|allowed|legal)[ _](?:current )?"
    r"(?:actions?|commands?|moves?|options?|tools?)\b",
    re.IGNORECASE,
)
"""Lines that say what could be done; they tell no state."""
