"""MovieLens folders, in every layout and its real encoding, whole and damaged."""

from pathlib import Path

import pytest

from models.errors import CanarecError
from models.events import Movie, Profile, Rating
from models.wire import Limits
from pipelines.movielens import DataSet, NotMovieLens, read

LIMITS = Limits()


def folder_of(path: Path, files: dict[str, str | bytes], encoding: str = "utf-8") -> Path:
    path.mkdir(exist_ok=True)
    for name, content in files.items():
        (path / name).write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return path


def ml_latest(path: Path) -> Path:
    return folder_of(
        path,
        {
            "movies.csv": "movieId,title,genres\r\n"
            "1,Toy Story (1995),Adventure|Animation\r\n"
            '2,"Postman, The (Postino, Il) (1994)",Comedy|Drama\r\n'
            '3,"11\'09""01 - September 11 (2002)",Drama\r\n'
            "4,Misérables (1995),Drama\r\n"
            "5,Babylon 5,(no genres listed)\r\n",
            "ratings.csv": "userId,movieId,rating,timestamp\r\n"
            "1,1,4.0,964982703\r\n1,2,0.5,0\r\n671,5,3.5,1445714835\r\n",
            "links.csv": "movieId,imdbId,tmdbId\r\n1,0114709,862\r\n",
            "tags.csv": "userId,movieId,tag,timestamp\r\n",
        },
    )


def ml_10m(path: Path) -> Path:
    return folder_of(
        path,
        {
            "movies.dat": "1::Toy Story (1995)::Adventure|Animation\n73::Misérables, Les (1995)::Drama\n",
            "ratings.dat": "1::73::5::838985046\n1::1::3.5::838983525\n",
            "tags.dat": "15::4973::excellent!::1215184630\n",
        },
    )


def ml_1m(path: Path) -> Path:
    return folder_of(
        path,
        {
            "movies.dat": "1::Toy Story (1995)::Animation|Children's\n73::Misérables, Les (1995)::Drama|Musical\n",
            "ratings.dat": "1::73::5::978300760\n2::1::1::978302109\n",
            "users.dat": "1::F::1::10::48067\n2::M::56::16::70072\n3::M::25::15::55117\n",
            "README": "",
        },
        "latin-1",
    )


FLAGS = ["0"] * 19


def flags(*places: int) -> str:
    return "|".join("1" if place in places else "0" for place in range(19))


def ml_100k(path: Path) -> Path:
    return folder_of(
        path,
        {
            "u.item": f"1|Toy Story (1995)|01-Jan-1995||http://us.imdb.com/M/title-exact?Toy|{flags(3, 4, 5)}\n"
            f"267|unknown||||{flags(0)}\n"
            f"1633|Á köldum klaka (Cold Fever) (1994)|08-Mar-1996||http://us.imdb.com/M|{flags(8)}\n"
            f"9|Dated|08-Mar-1996|||{flags(18)}\n",
            "u.data": "196\t267\t3\t881250949\n1\t1\t5\t874965758\n",
            "u.user": "1|24|M|technician|85711\n196|49|F|writer|V3N4P\n",
            "u.genre": "unknown|0\nAction|1\nAdventure|2\nAnimation|3\nChildren's|4\nComedy|5\nCrime|6\nDocumentary|7\n"
            "Drama|8\nFantasy|9\nFilm-Noir|10\nHorror|11\nMusical|12\nMystery|13\nRomance|14\nSci-Fi|15\nThriller|16\n"
            "War|17\nWestern|18\n\n",
        },
        "latin-1",
    )


def whole(data: DataSet) -> tuple[list[Movie], list[Profile], list[Rating]]:
    """Everything; a bad line fails the test."""
    return (
        [movie for _, movie in data.movies(pytest.fail)],
        [profile for _, profile in data.profiles(pytest.fail)],
        [rating for _, rating in data.ratings(pytest.fail)],
    )


def test_a_csv_release_is_read(tmp_path: Path) -> None:
    assert whole(read(ml_latest(tmp_path), LIMITS)) == (
        [
            Movie("1", "Toy Story", ("Adventure", "Animation"), 1995),
            Movie("2", "The Postman (Il Postino)", ("Comedy", "Drama"), 1994),
            Movie("3", "11'09\"01 - September 11", ("Drama",), 2002),
            Movie("4", "Misérables", ("Drama",), 1995),
            Movie("5", "Babylon 5", (), None),
        ],
        [],
        [
            Rating("1", "1", 4.0, 964_982_703_000),
            Rating("1", "2", 0.5, 0),
            Rating("671", "5", 3.5, 1_445_714_835_000),
        ],
    )


def test_ml_10m_is_read_as_utf_8(tmp_path: Path) -> None:
    assert whole(read(ml_10m(tmp_path), LIMITS)) == (
        [
            Movie("1", "Toy Story", ("Adventure", "Animation"), 1995),
            Movie("73", "Les Misérables", ("Drama",), 1995),
        ],
        [],
        [Rating("1", "73", 5.0, 838_985_046_000), Rating("1", "1", 3.5, 838_983_525_000)],
    )


def test_ml_1m_is_read_as_latin_1_with_its_users(tmp_path: Path) -> None:
    assert whole(read(ml_1m(tmp_path), LIMITS)) == (
        [
            Movie("1", "Toy Story", ("Animation", "Children's"), 1995),
            Movie("73", "Les Misérables", ("Drama", "Musical"), 1995),
        ],
        [
            Profile("1", "F", None, "K-12 student"),  # 1 is the code of "under 18", not an age
            Profile("2", "M", 56, "self-employed"),
            Profile("3", "M", 25, "scientist"),
        ],
        [Rating("1", "73", 5.0, 978_300_760_000), Rating("2", "1", 1.0, 978_302_109_000)],
    )


def test_ml_100k_is_read_with_its_genre_flags(tmp_path: Path) -> None:
    expected = (
        [
            Movie("1", "Toy Story", ("Animation", "Children's", "Comedy"), 1995),
            Movie("267", "unknown", (), None),
            Movie("1633", "Á köldum klaka (Cold Fever)", ("Drama",), 1994),
            Movie("9", "Dated", ("Western",), 1996),  # no year in its title
        ],
        [Profile("1", "M", 24, "technician"), Profile("196", "F", 49, "writer")],
        [Rating("196", "267", 3.0, 881_250_949_000), Rating("1", "1", 5.0, 874_965_758_000)],
    )
    folder = ml_100k(tmp_path)
    assert whole(read(folder, LIMITS)) == expected
    (folder / "u.genre").unlink()
    assert whole(read(folder, LIMITS)) == expected


def test_no_popularity_is_made_up(tmp_path: Path) -> None:
    for make in (ml_latest, ml_10m, ml_1m, ml_100k):
        folder = make(tmp_path / make.__name__)
        assert all(movie.popularity is None for _, movie in read(folder, LIMITS).movies())


def test_the_folders_name_says_nothing(tmp_path: Path) -> None:
    assert read(ml_100k(tmp_path / "ml-latest-small"), LIMITS).layout == "u"
    assert read(ml_latest(tmp_path / "ml-1m"), LIMITS).layout == "csv"


def test_a_spreadsheets_quotes_and_byte_order_mark_do_no_harm(tmp_path: Path) -> None:
    folder = folder_of(
        tmp_path,
        {
            "movies.csv": '\ufeffmovieId,title,genres\n1,"Toy Story (1995)","Comedy"\n',
            "ratings.csv": '\ufeffuserId,movieId,rating,timestamp\n"1","1","4.0","964982703"\n',
        },
    )
    assert whole(read(folder, LIMITS)) == (
        [Movie("1", "Toy Story", ("Comedy",), 1995)],
        [],
        [Rating("1", "1", 4.0, 964_982_703_000)],
    )


@pytest.mark.parametrize(
    ("make", "name", "damaged", "expected"),
    [
        (
            ml_latest,
            "ratings.csv",
            b"1,1,4.0",
            "ratings.csv:3: expected userId,movieId,rating,timestamp, found '1,1,4.0'",
        ),
        (ml_latest, "ratings.csv", b"1,1,nan,7", "ratings.csv:3: expected userId,movieId,rating,timestamp"),
        (ml_latest, "ratings.csv", b"1,1,15,7", "ratings.csv:3: expected a rating from 0.5 to 10, found '1,1,15,7'"),
        (ml_latest, "ratings.csv", b"1,-1,4,7", "ratings.csv:3: expected userId"),
        (ml_latest, "ratings.csv", b"\x00\xff,1,4,7", "ratings.csv:3: expected userId"),
        (ml_latest, "ratings.csv", b"x" * 9_999, "ratings.csv:3: expected userId"),
        (ml_latest, "movies.csv", b'7,"Unclosed (1995),Drama', "movies.csv:3: expected movieId,title,genres"),
        (
            ml_latest,
            "movies.csv",
            b"7,Caf\xe9,Drama",
            "movies.csv:3: expected movieId,title,genres, found '7,Caf\ufffd",
        ),
        (ml_latest, "movies.csv", b"7,,Drama", "movies.csv:3: expected movieId,title,genres"),
        (ml_latest, "movies.csv", b"7,One,Too,Many", "movies.csv:3: expected movieId,title,genres"),
        (ml_latest, "movies.csv", b"1,Again,Drama", "movies.csv:3: expected an id that no line before has"),
        (ml_1m, "users.dat", b"4::X::25::1::1", "users.dat:2: expected UserID::Gender::Age::Occupation::Zip-code"),
        (ml_1m, "users.dat", b"4::F::old::1::1", "users.dat:2: expected UserID"),
        (ml_1m, "movies.dat", b"4:Toy:Drama", "movies.dat:2: expected MovieID::Title::Genres"),
        (ml_1m, "ratings.dat", b"1::1:5::978300760", "ratings.dat:2: expected UserID::MovieID::Rating::Timestamp"),
        (ml_100k, "u.item", b"4|Short|1|0", "u.item:2: expected movie|title|release date|video date|URL|19 flags"),
        (ml_100k, "u.item", b"4|T||||" + b"|".join([b"2"] * 19), "u.item:2: expected movie|title"),
        (ml_100k, "u.data", b"1 1 5 874965758", "u.data:2: expected user, movie, rating and timestamp with tabs"),
        (ml_100k, "u.genre", b"Action", "u.genre:2: expected genre|number"),
    ],
)
def test_a_bad_line_is_named_and_the_rest_is_read(
    tmp_path: Path, make: object, name: str, damaged: bytes, expected: str
) -> None:
    assert callable(make)
    folder = make(tmp_path)
    before = whole(read(folder, LIMITS))
    lines = (folder / name).read_bytes().splitlines(keepends=True)
    place = 2 if name.endswith(".csv") else 1
    (folder / name).write_bytes(b"".join([*lines[:place], damaged + b"\n", *lines[place:]]))
    data, bad = read(folder, LIMITS), list[str]()
    after = (
        [movie for _, movie in data.movies(bad.append)],
        [profile for _, profile in data.profiles(bad.append)],
        [rating for _, rating in data.ratings(bad.append)],
    )
    assert after == before
    assert len(bad) == 1
    assert bad[0].startswith(expected)
    assert "\n" not in bad[0]
    assert len(bad[0]) < 300


def test_progress_ends_at_the_end_and_counts_no_header_as_a_rating_or_a_movie(tmp_path: Path) -> None:
    shown: list[tuple[str, int, float]] = []
    data = read(ml_latest(tmp_path), LIMITS)
    assert len(list(data.ratings(progress=lambda *step: shown.append(step)))) == 3
    assert len(list(data.movies(progress=lambda *step: shown.append(step)))) == 5
    assert shown == [("ratings", 3, 1.0), ("movies", 5, 1.0)]


def test_a_header_in_quotes_is_a_header(tmp_path: Path) -> None:
    folder = folder_of(
        tmp_path,
        {
            "movies.csv": '"movieId","title","genres"\n"1","Heat (1995)","Drama"\n',
            "ratings.csv": '"userId","movieId","rating","timestamp"\n"1","1","4.0","964982703"\n',
        },
    )
    movies, _, ratings = whole(read(folder, LIMITS))
    assert (len(movies), len(ratings)) == (1, 1)


def test_the_origin_is_the_content_and_not_the_place(tmp_path: Path) -> None:
    one, other = ml_latest(tmp_path / "one"), ml_latest(tmp_path / "other")
    assert read(one, LIMITS).origin() == read(other, LIMITS).origin()
    with (other / "ratings.csv").open("a") as ratings:
        ratings.write("9,1,5.0,964982704\n")
    assert read(one, LIMITS).origin() != read(other, LIMITS).origin()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {},
            "looked for movies.csv and ratings.csv, or movies.dat and ratings.dat, or u.item and u.data; found nothing",
        ),
        ({"movies.csv": "movieId,title,genres\n"}, "found movies.csv"),
        (
            {"movies.csv": "movieId,title,genres\n", "ratings.csv": "a;b;c\n1;2;3\n"},
            "ratings.csv:1: expected a MovieLens file of lines userId,movieId,rating,timestamp, found 'a;b;c'",
        ),
        ({"movies.csv": "", "ratings.csv": ""}, "ratings.csv:1: expected a MovieLens file"),
    ],
)
def test_another_folder_is_refused_with_what_was_looked_for(
    tmp_path: Path, files: dict[str, str | bytes], message: str
) -> None:
    with pytest.raises(NotMovieLens) as refused:
        read(folder_of(tmp_path, files), LIMITS)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_folder_above_gets_a_hint(tmp_path: Path) -> None:
    ml_latest(tmp_path / "ml-latest-small")
    with pytest.raises(CanarecError, match=r"did you mean .*ml-latest-small\?"):
        read(tmp_path, LIMITS)


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ml.zip").write_bytes(b"PK")
    with pytest.raises(NotMovieLens, match="not a folder: unpack it first"):
        read(tmp_path / "ml.zip", LIMITS)
    with pytest.raises(NotMovieLens, match="no such folder"):
        read(tmp_path / "nowhere", LIMITS)
