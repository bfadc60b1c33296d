"""JSON text changed in place: the values are as asked for, and what was not touched keeps its bytes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.json_text import changed

scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=8)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(st.text(max_size=3), values, max_size=5)
layouts = st.sampled_from(
    [{}, {"indent": 2}, {"indent": "\t"}, {"separators": (",", ":")}, {"separators": (" ,  ", " : "), "indent": 1}]
)


@given(old=objects, new=objects, layout=layouts, ascii_only=st.booleans())
def test_the_text_says_what_it_was_asked_to_say(old, new, layout, ascii_only):
    text = "\n" + json.dumps(old, ensure_ascii=ascii_only, **layout) + " \n"
    assert json.loads(changed(text, new)) == new


@given(old=objects, layout=layouts, ascii_only=st.booleans())
def test_without_a_change_every_byte_stays(old, layout, ascii_only):
    text = json.dumps(old, ensure_ascii=ascii_only, **layout)
    assert changed(text, json.loads(text)) == text


@given(old=objects, key=st.text(min_size=4, max_size=6), value=values, layout=layouts)
def test_a_change_of_one_value_is_seen_at_its_place_only(old, key, value, layout):
    before, after = ({**old, key: marker, "last": 1} for marker in ("MARKED-WITH-THIS", "AND-NOW-WITH-THAT"))
    text = json.dumps(before, **layout)
    assert changed(text, after) == text.replace('"MARKED-WITH-THIS"', '"AND-NOW-WITH-THAT"')


@pytest.mark.parametrize(
    ("text", "new", "expected"),
    [
        ('{"a": 1}', {"a": 2}, '{"a": 2}'),
        ('{"a": 1}', {"a": True}, '{"a": true}'),
        ('{"a": 1.0}', {"a": 1}, '{"a": 1}'),
        ('{"a":1,"b":[1,\n 2]}', {"a": 2, "b": [1, 2]}, '{"a":2,"b":[1,\n 2]}'),
        ('{\n  "a": 1\n}\n', {"a": 1, "b": "é"}, '{\n  "a": 1,\n  "b": "é"\n}\n'),
        ('{\r\n\t"a": {"b": 1}\r\n}', {"a": {"b": 2}}, '{\r\n\t"a": {"b": 2}\r\n}'),
        ('{"a": 1, "b": 2}', {"a": 1, "b": 2, "c": {}}, '{"a": 1, "b": 2, "c": {}}'),
        ('{"a": 1}', {"a": 1, "b": 2}, '{"a": 1, "b": 2}'),
        ("{}", {"a": 1}, '{"a": 1}'),
        ('{"a": {}}', {"a": {"b": 1}}, '{"a": {"b": 1}}'),
        ('{"a": 1, "b": 2}', {"b": 2}, '{"b": 2}'),
        ('{"a": 1, "a": 2, "b": 1}', {"a": 3, "b": 1}, '{"a": 3, "b": 1}'),
        ('{"\\u00e9\\"}": "}", "a": 1}', {'é"}': "}", "a": 2}, '{"\\u00e9\\"}": "}", "a": 2}'),
    ],
)
def test_a_text_is_changed_like_this(text, new, expected):
    assert changed(text, new) == expected
