"""Titles as people write them, from titles as lists sort them: 'Postman, The (Postino, Il) (1994)'."""

import re

# One word behind the last comma of a title, in the languages that MovieLens has.
_ARTICLE_LAST = re.compile(
    r"(.+), (The|A|An|La|Le|Les|L'|Un|Une|Il|Lo|I|Gli|Uno|Una|El|Los|Las|Der|Die|Das|Ein|Eine|De|Het|Een|Den|Det|En"
    r"|Et|Ett|O|Os|As|Um|Uma)"
)
# (1994), (2006-2007) with either dash, (2007- ), and behind it what IMDb calls a video
_YEAR = re.compile(r"\s*\((\d{4})(?:\s?[-\u2013]\s?(?:\d{4})?)?\)(?:\s*\((?:V|TV|VG)\))?$", re.ASCII)
_IN_BRACKETS = re.compile(r"\((a\.k\.a\. )?([^()]+)\)")


def plain_title(title: str) -> tuple[str, int | None]:
    """The title with its articles in front, and the year behind it, None where there is none.

    >>> plain_title("Postman, The (Postino, Il) (1994)")
    ('The Postman (Il Postino)', 1994)
    >>> plain_title("Avventura, L' (Adventure, The) (1960)")
    ("L'Avventura (The Adventure)", 1960)
    >>> plain_title("I, Robot"), plain_title("1984 (1984)")
    (('I, Robot', None), ('1984', 1984))
    """
    text, year = title.strip(), None
    found = _YEAR.search(text)
    if found and found.start() > 0:
        text = text[: found.start()]
        year = int(found[1]) if 1800 <= int(found[1]) <= 2200 else None
    name, bracket, others = text.partition(" (")
    others = _IN_BRACKETS.sub(lambda other: f"({other[1] or ''}{_article_first(other[2])})", bracket + others)
    return _article_first(name) + others, year


def _article_first(name: str) -> str:
    found = _ARTICLE_LAST.fullmatch(name)
    if found is None:
        return name
    rest, article = found.groups()
    return f"{article}{rest}" if article.endswith("'") else f"{article} {rest}"
