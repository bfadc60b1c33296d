"""Titles with their articles in front."""

import pytest

from models.titles import plain_title


@pytest.mark.parametrize(
    ("title", "plain"),
    [
        ("Toy Story (1995)", ("Toy Story", 1995)),
        ("Matrix, The (1999)", ("The Matrix", 1999)),
        ("Lord of the Rings: The Two Towers, The (2002)", ("The Lord of the Rings: The Two Towers", 2002)),
        ("Postman, The (Postino, Il) (1994)", ("The Postman (Il Postino)", 1994)),
        (
            "Good, the Bad and the Ugly, The (Buono, il brutto, il cattivo, Il) (1966)",
            ("The Good, the Bad and the Ugly (Il Buono, il brutto, il cattivo)", 1966),
        ),
        ("Cold Fever, The (Á köldum klaka, La) (1994)", ("The Cold Fever (La Á köldum klaka)", 1994)),
        ("Misérables, Les (1995)", ("Les Misérables", 1995)),
        ("Boot, Das (Boat, The) (1981)", ("Das Boot (The Boat)", 1981)),
        ("Himmel über Berlin, Der (1987)", ("Der Himmel über Berlin", 1987)),
        ("Haine, La (Hate) (1995)", ("La Haine (Hate)", 1995)),
        ("Avventura, L' (Adventure, The) (1960)", ("L'Avventura (The Adventure)", 1960)),
        ("Bronx Tale, A (1993)", ("A Bronx Tale", 1993)),
        ("Affair to Remember, An (1957)", ("An Affair to Remember", 1957)),
        ("Seven (a.k.a. Se7en) (1995)", ("Seven (a.k.a. Se7en)", 1995)),
        ("Thing, The (a.k.a. Other, The) (1982)", ("The Thing (a.k.a. The Other)", 1982)),
        # no articles
        ("Girl, Interrupted (1999)", ("Girl, Interrupted", 1999)),
        ("I, Robot (2004)", ("I, Robot", 2004)),
        ("Monsters, Inc. (2001)", ("Monsters, Inc.", 2001)),
        (", The (1999)", (", The", 1999)),
        # years
        ("Babylon 5", ("Babylon 5", None)),
        ("2001: A Space Odyssey (1968)", ("2001: A Space Odyssey", 1968)),
        ("1984 (Nineteen Eighty-Four) (1984)", ("1984 (Nineteen Eighty-Four)", 1984)),
        ("Death Note: Desu nôto (2006\u20132007)", ("Death Note: Desu nôto", 2006)),
        ("Big Bang Theory, The (2007-)", ("The Big Bang Theory", 2007)),
        ("Assembly (Ji jie hao) (2007) ", ("Assembly (Ji jie hao)", 2007)),
        ("Land Before Time III, The (1995) (V)", ("The Land Before Time III", 1995)),
        ("Odd (0042)", ("Odd", None)),
        ("(1999)", ("(1999)", None)),
        ("", ("", None)),
    ],
)
def test_a_title_reads_as_people_write_it(title: str, plain: tuple[str, int | None]) -> None:
    assert plain_title(title) == plain
