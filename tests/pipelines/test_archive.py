"""Reading the archive: one table however many files there are; natively by pandas and DuckDB."""

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.errors import CanarecError
from models.wire import Limits
from pipelines import archive, columns
from pipelines.tiles import Gap, Partition

TOPIC = "rating-events"
VALUE = b'{"user_id": "u%d", "movie_id": "heat+1995", "rating": %d, "timestamp": "2022-11-14T12:23:12Z"}'


def store(folder, partition, *ranges):
    for first, after in ranges:
        messages = [
            (offset, 1_700_000_000_000, None, VALUE % (offset, 1 + offset % 5)) for offset in range(first, after)
        ]
        rows, refused = columns.batch(TOPIC, partition, messages, Limits())
        with Partition(folder, TOPIC, partition).writing(first) as writing:
            writing.add(rows, refused)
            writing.finish(after - 1, after)


@pytest.fixture
def stored(tmp_path):
    """Two partitions, the second with a gap, and what lies about beside the data."""
    store(tmp_path, 0, (0, 3), (3, 5))
    store(tmp_path, 1, (10, 12))
    Partition(tmp_path, TOPIC, 1).record(Gap(TOPIC, 1, 0, 9, "retention"))
    (tmp_path / TOPIC / "1" / "_12-13.parquet.damaged").write_bytes(b"half")
    (tmp_path / TOPIC / "1" / ".12.partial").write_bytes(b"PAR1")
    return tmp_path


def test_a_table_is_by_partition_and_offset(stored):
    table = archive.table(stored, TOPIC)
    assert table.schema == columns.layout(TOPIC).schema
    assert table.select(["partition", "offset"]).to_pydict() == {
        "partition": [0, 0, 0, 0, 0, 1, 1],
        "offset": [0, 1, 2, 3, 4, 10, 11],
    }


def test_a_table_of_some_columns_in_the_order_asked_for(stored):
    assert archive.table(stored, TOPIC, ["rating", "user_id"]).to_pylist()[6] == {"rating": 2.0, "user_id": "u11"}


def test_texts_as_dictionaries_are_the_same_texts(stored):
    plain = archive.table(stored, TOPIC, ["user_id", "movie_id"])
    coded = archive.table(stored, TOPIC, ["user_id", "movie_id"], dictionaries=["movie_id"])
    assert pa.types.is_dictionary(coded.schema.field("movie_id").type)
    assert coded["movie_id"].combine_chunks().dictionary.to_pylist() == ["heat+1995"]
    assert coded.cast(plain.schema) == plain


def test_what_was_never_archived_is_an_empty_table(tmp_path):
    for topic in archive.ARCHIVED:
        assert archive.table(tmp_path, topic) == columns.layout(topic).schema.empty_table()
        assert archive.spans(tmp_path, topic) == {}
    assert archive.gaps(tmp_path) == []


def test_a_topic_that_is_not_archived_is_one_clear_line(tmp_path):
    with pytest.raises(CanarecError, match="canary-events: is not archived"):
        archive.table(tmp_path, "canary-events")


def test_a_column_that_a_file_of_an_earlier_version_has_not_is_null_there(stored):
    [first, *_] = archive.files(stored, TOPIC)
    pq.write_table(pq.read_table(first, partitioning=None).drop_columns(["timestamp"]), first)
    table = archive.table(stored, TOPIC)
    assert table.schema.names == columns.layout(TOPIC).schema.names
    assert table["timestamp"].null_count == 3


def test_pandas_reads_the_topics_folder(stored):
    frame = pd.read_parquet(stored / TOPIC, partitioning=None)
    assert list(frame.sort_values(["partition", "offset"]).user_id) == ["u0", "u1", "u2", "u3", "u4", "u10", "u11"]
    assert str(frame.timestamp.dtype) == "datetime64[ms, UTC]"
    assert frame.dtypes["rating"] == "float64"


def test_duckdb_reads_the_topics_folder(stored):
    found = duckdb.sql(f"""
        select "partition", count(*), min("offset"), avg(rating), epoch_ms(max(timestamp)) as at
        from '{stored}/{TOPIC}/*/*.parquet' group by 1 order by 1
    """).fetchall()
    assert found == [(0, 5, 0, 3.0, 1_668_428_592_000), (1, 2, 10, 1.5, 1_668_428_592_000)]
