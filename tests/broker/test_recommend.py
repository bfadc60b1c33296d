"""`canarec recommend` against a real worker: the table, the answer as it came, why a movie is there, and when nobody answers."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from models.recommenders import store
from pipelines.explain import history_of, pulls
from streams import ask
from streams.cli import main


def recommend(shop, *arguments):
    main(
        ["recommend", "--home", str(shop.home.path), "--bootstrap-servers", shop.cluster.bootstrap_servers, *arguments]
    )


def test_a_table_with_titles_and_what_made_it(shop, capsys):
    recommend(shop, "u2", "-n", "4")
    shown = capsys.readouterr().out
    answer = next(a for a in reversed(shop.everything("recommendations")) if a["user_id"] == "u2")
    assert len(answer["recommendations"]) == 4
    assert all(movie.upper() in shown for movie in answer["recommendations"])  # titles are the ids in capitals
    assert "Even" in shown
    assert f"user u2: ok, model {answer['model_version']} ({answer['model_id']}, {answer['variant']})" in shown
    assert "made for this user" in shown


def test_a_user_nobody_knows_gets_popular_movies_and_is_told_so(shop, capsys):
    recommend(shop, "stranger")
    shown = capsys.readouterr().out
    assert "user stranger: fallback" in shown
    assert "nobody knows this user: popular movies" in shown


def test_json_is_the_answer_exactly_as_it_came(shop, capsysbinary):
    recommend(shop, "u3", "--json", "-n", "2", "--include-seen")
    shown = capsysbinary.readouterr().out
    request_id = json.loads(shown)["request_id"]
    as_it_came = [m.value() for m, a in shop.all_messages("recommendations") if a["request_id"] == request_id]
    assert [shown.rstrip(b"\n")] == as_it_came


def test_genres_are_as_asked_for(shop, capsys):
    recommend(shop, "u2", "--json", "--genres", "odd")
    assert all(int(movie[1:]) % 2 for movie in json.loads(capsys.readouterr().out)["recommendations"])


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["u2", "--genres", "odd, nonsense"], "unknown_genre"),
        (["u2", "--genres", "x" * 300], "bad_genres"),
        ([""], "bad_id"),
    ],
)
def test_a_refused_request_is_one_line_with_its_reason_and_exit_code_1(shop, capsys, arguments, reason):
    with pytest.raises(SystemExit) as ended:
        recommend(shop, *arguments)
    said = capsys.readouterr()
    assert ended.value.code == 1
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith(f"canarec: the request was refused: {reason} (")


def test_a_refused_request_as_json_is_the_answer_as_it_came_and_exit_code_1(shop, capsys):
    with pytest.raises(SystemExit) as ended:
        recommend(shop, "", "--json")
    said = capsys.readouterr()
    answer = json.loads(said.out)
    assert ended.value.code == 1
    assert (answer["status"], answer["user_id"], answer["reason"]) == ("rejected", None, "bad_id")
    assert len(said.err.splitlines()) == 1


def test_what_was_watched_explains_what_is_recommended(shop, capsys):
    recommend(shop, "u4", "-n", "3", "--explain")
    assert "because of" in capsys.readouterr().out
    record = shop.ask("u4", n=5)
    found = pulls(shop.cluster, shop.applied, record, shop.home.models)
    assert list(found) == record["recommendations"]
    histories = history_of(shop.cluster, shop.applied, "u4", record["history_offsets"])
    watched = {histories.movie_ids.text(movie) for movie in histories.movies("u4")}
    assert len(watched) == 8
    for strongest in found.values():
        assert 1 <= len(strongest) <= 3
        assert {pull.movie_id for pull in strongest} <= watched
        assert [pull.score for pull in strongest] == sorted((pull.score for pull in strongest), reverse=True)


def test_all_pulls_add_up_to_the_score(shop):
    record = shop.ask("u6", n=5)
    model = store.read(shop.home.models, record["model_version"])
    histories = history_of(shop.cluster, shop.applied, "u6", record["history_offsets"])
    column = {movie: number for number, movie in enumerate(model.movie_ids)}
    watched = sorted(column[histories.movie_ids.text(movie)] for movie in histories.movies("u6"))
    added = model.recommender.explain(
        np.array(watched, np.int32), np.array([column[movie] for movie in record["recommendations"]], np.int32)
    )
    assert added.sum(axis=1) == pytest.approx(record["scores"], abs=1e-4)


def test_a_history_is_as_of_the_recorded_offsets(shop):
    before = shop.ask("u8")
    shop.see("u8", "m001")
    shop.see("u8", "m003", rating=2.5)
    shop.flush()
    after = shop.ask("u8")

    def movies(record):
        histories = history_of(shop.cluster, shop.applied, "u8", record["history_offsets"])
        return {histories.movie_ids.text(movie) for movie in histories.movies("u8")}

    assert movies(after) - movies(before) == {"m001", "m003"}


def test_an_explanation_needs_no_history(shop, capsys):
    recommend(shop, "stranger", "--explain", "-n", "3")
    assert "because of" not in capsys.readouterr().out


def test_what_others_write_among_the_answers_does_no_harm(installations):
    with installations() as shop, ThreadPoolExecutor(1) as pool:
        request = {"request_id": "mine", "user_id": "u1"}
        asking = pool.submit(ask.ask, shop.cluster, shop.applied, request, 30)
        shop.wait(lambda: shop.committed("recommendation-requests"), "the request")
        for junk in (b"\xff", b"[]", b"{", b'{"request_id": 7}', b"", None):
            shop.publish("recommendations", junk, None, 0)
        shop.publish("recommendations", {"request_id": "another's"}, None, 0)
        shop.publish("recommendations", request, None, 0)
        shop.flush()
        assert asking.result() == request


def test_the_catalogue_is_read_whole(shop):
    movies = ask.catalog(shop.cluster, shop.applied)
    assert len(movies) == 155
    assert movies["m007"].title == "M007"


def test_no_answer_in_time_is_one_line(installations, capsys):
    with installations() as nobody:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            recommend(nobody, "u1", "--timeout", "4")  # Kafka takes the request in this time
    said = capsys.readouterr()
    assert ended.value.code == 1
    assert said.out == ""
    assert len(said.err.strip().splitlines()) == 1
    options = f"--home {nobody.home.path} --bootstrap-servers {nobody.cluster.bootstrap_servers}"
    assert f"is a worker running? `canarec worker {options}`" in said.err


def test_no_broker_is_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["recommend", "1", "--home", str(tmp_path), "--bootstrap-servers", "127.0.0.1:1"])
    assert ended.value.code == 1
    assert "no Kafka broker answers at 127.0.0.1:1" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [["-n", "0"], ["-n", "101"], ["--timeout", "0"], []])
def test_wrong_use_is_exit_code_2(wrong, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["recommend", *(["u1"] if wrong else []), *wrong])
    assert ended.value.code == 2
    assert "Traceback" not in capsys.readouterr().err
