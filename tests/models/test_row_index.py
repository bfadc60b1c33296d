"""The index of a compressed CSV names the member that holds a row, for any ids."""

import csv
import gzip
import io

from hypothesis import given
from hypothesis import strategies as st

from models.row_index import RowIndex, RowIndexWriter

IDS = st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=20), min_size=1, max_size=40, unique=True)


def line(request_id, rest="x"):
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow([request_id.replace("\n", " ").replace("\r", " "), rest])
    return out.getvalue().encode()


def packed(path, lines, each):
    writer = RowIndexWriter()
    with path.open("wb") as file:
        for first in range(0, len(lines), each):
            start = file.tell()
            file.write(gzip.compress(b"".join(lines[first : first + each])))
            writer.add(start, lines[first : first + each])
    return writer.dump(path.stat().st_size)


@given(IDS, st.integers(1, 7))
def test_each_row_stands_in_a_member_that_the_index_names(tmp_path_factory, ids, each):
    path = tmp_path_factory.mktemp("index") / "2026-11-26.csv.gz"
    lines = [line(request_id) for request_id in ids]
    kept, content = packed(path, lines, each), path.read_bytes()
    index = RowIndex.load(kept, len(content))
    for one in lines:
        spans = index.spans(one[: one.rindex(b",") + 1])
        assert any(one in gzip.decompress(content[start:end]) for start, end in spans)
    assert index.unpacked == sum(map(len, lines))


def test_an_index_of_another_state_of_the_file_is_none(tmp_path):
    path = tmp_path / "2026-11-26.csv.gz"
    kept, size = packed(path, [line("r1")], 1), path.stat().st_size
    assert RowIndex.load(kept, size) is not None
    assert RowIndex.load(kept, size + 1) is None
