"""Finding a part by its name as people write it: ``3090``, ``rtx3090``, ``NVIDIA GeForce RTX
3090``.
"""

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations

NUM_SUGGESTIONS = 3

_NOISE = re.compile(
    r"\((?:r|tm|c)\)|[®™]|\b\d+-cores?\b|\b\d+(?:st|nd|rd|th)\s+gen\b|@.*$"
    r"|\bwith\s+radeon.*$|\bw/.*$|\bv1\b|\b(?:naples|rome|milan|genoa|bergamo|siena|turin)\b"
    r"|\b(?:nvidia|amd|intel|cpu|gpu|processor|graphics|generation|edition|workstation|hbm\d\w*)\b",
    re.IGNORECASE,
)
"""Text that systems and people put around a name.

Examples are makers, trade marks, "16-Core Processor", "@ 3.50GHz", the first version and the town
an EPYC is called after.
"""

_WORDS = {"mobile": "laptop", "max-q": "maxq", "max+": "max"}
_FORM = re.compile(r"\bsxm\d?\b")
_SUPER = re.compile(r"\b([24]0[678]0|16[56]0)(\s*ti)?\s*s\b")

_OPTIONAL = frozenset(
    {
        *(
            "geforce",
            "radeon",
            "tesla",
            "quadro",
            "instinct",
            "arc",
            "apple",
            "blackwell",
            "data",
            "center",
        ),
        *("rtx", "gtx", "rx", "ryzen", "threadripper", "epyc", "core", "3", "5", "7", "9"),
        *(
            "xeon",
            "gold",
            "silver",
            "platinum",
            "i3",
            "i5",
            "i7",
            "i9",
            "w3",
            "w5",
            "w7",
            "w9",
            "e5",
        ),
    }
)
"""Words of a name that people leave out."""

_OPTIONAL_BESIDE = {
    "pro": ("threadripper", "radeon", "arc"),
    "ai": ("radeon",),
    "p": ("xeon",),
    "ultra": ("core",),
}
"""Words that people leave out only of names that contain one of the words listed.

In other names such a word tells parts apart: an RTX PRO 6000 is no RTX 6000, an M2 Ultra no M2.
"""

_SHORT = {
    "ryzen 3": "r3",
    "ryzen 5": "r5",
    "ryzen 7": "r7",
    "ryzen 9": "r9",
    "ryzen threadripper": "tr",
}
"""The abbreviations that people write in place of two words."""


def key_of(text: str) -> str:
    """Return a name in small letters, without spaces, signs and the text that systems put around
    it.
    """
    return "".join(_words(text))


def keys_of(name: str) -> set[str]:
    """Return every spelling of a name as one word, with any of its optional words left out."""
    words = _words(name)
    found = {"".join(words)}
    for spelling in (words, *_shortened(words)):
        found |= set(_without_optional(spelling))
    return found


def _without_optional(words: list[str]) -> Iterator[str]:
    optional = [place for place, word in enumerate(words) if _is_optional(word, words)]
    for count in range(len(optional) + 1):
        # Every combination: people leave out any of these words, and names have few of them.
        for left_out in combinations(optional, count):
            kept = [word for place, word in enumerate(words) if place not in left_out]
            key = "".join(kept)
            # A spelling without a number, such as "ti", would stand for too many parts, and the 5
            # of a Ryzen 5 without its Ryzen would join the number behind it.
            if len(key) > 1 and not key.isalpha() and not (kept[0].isdigit() and len(kept[0]) == 1):
                yield key


def _is_optional(word: str, words: list[str]) -> bool:
    return word in _OPTIONAL or any(beside in words for beside in _OPTIONAL_BESIDE.get(word, ()))


def nearest(text: str, names_by_key: Mapping[str, Iterable[str]]) -> list[str]:
    """The names whose spelling is nearest to the text, at most NUM_SUGGESTIONS, nearest first."""
    key = key_of(text)
    close = difflib.get_close_matches(key, names_by_key, n=4 * NUM_SUGGESTIONS, cutoff=0.5)
    close.sort(key=lambda spelling: _distance(key, spelling))
    found = dict.fromkeys(name for key in close for name in names_by_key[key])
    return list(found)[:NUM_SUGGESTIONS]


def _distance(key: str, spelling: str) -> tuple[float, int]:
    """The distance of two spellings as a sort key.

    Of equally similar spellings, the one with the same letters is nearer: letters change places
    more often than they change.
    """
    common = Counter(key) & Counter(spelling)
    others = len(key) + len(spelling) - 2 * common.total()
    return -difflib.SequenceMatcher(None, spelling, key).ratio(), others


def _words(text: str) -> list[str]:
    spaced = _NOISE.sub(" ", text.lower())
    for written, meant in _WORDS.items():
        spaced = spaced.replace(written, meant)
    spaced = _SUPER.sub(r"\1\2 super", _FORM.sub("sxm", spaced))
    return re.findall(r"[a-z0-9]+", spaced)


def _shortened(words: list[str]) -> Iterable[list[str]]:
    line = " ".join(words)
    for long, short in _SHORT.items():
        if line.startswith(long + " "):
            yield (short + line.removeprefix(long)).split()
