"""`canarec analyze` beside a broker: the archive is extended first, and what was answered is what is looked at."""

import json

from streams.cli import main


def analyzed(shop, *arguments):
    main(["analyze", "--home", str(shop.home.path), "--bootstrap-servers", shop.cluster.bootstrap_servers, *arguments])
    return json.loads((shop.home.artifacts / "analysis" / "latest.json").read_text())


def test_what_happened_since_the_last_analysis_is_in_the_next_one(shop):
    records = [shop.ask(f"u{user}") for user in range(5)]
    asked = len(shop.everything("recommendation-requests"))  # the fixture's, too
    assert len(shop.everything("recommendations")) == asked  # which waits for the open ones
    before = analyzed(shop)
    assert before["recommended"]["source"] == "what was recommended"
    assert before["recommended"]["lists"] == asked
    shop.see("newcomer", records[0]["recommendations"][0])
    shop.flush()
    after = analyzed(shop)
    assert after["window"]["interactions"] == before["window"]["interactions"] + 1
    assert after["window"]["users"] == before["window"]["users"] + 1


def test_two_versions_are_compared_on_the_archive(shop):
    found = analyzed(shop, "--compare", "v1", "v2")["comparison"]
    assert found["versions"] == ["v1", "v2"]
    assert {row["number"] for row in found["numbers"]} >= {"gini", "coverage", "mean_popularity", "novelty"}
