"""The documentation against the code: made pages are fresh, tables are complete, commands and links exist."""

import ast
import json
import re
import shlex
import shutil
from pathlib import Path
from typing import get_args

import click
import msgspec
import pytest
from prometheus_client.metrics import MetricWrapperBase

from models import config, movielog, retraining, wire
from models.errors import REASONS, BadMessage
from models.events import Answer, AnswerReason, CanaryEvent, DeadLetter, Proof
from models.measures.reports import Fairness, FeedbackLoop, Quality
from models.topics import TOPICS
from streams import metrics
from streams.cli import canarec, reference

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
NOW_MS = 1_800_000_000_000
COMMANDS = dict(reference.commands())

PARSERS = {
    "watch-events": lambda value: wire.watch(value, NOW_MS, wire.Limits()),
    "rating-events": lambda value: wire.rating(value, NOW_MS, wire.Limits()),
    "user-profiles": wire.profile,
    "movie-catalog": wire.movie,
    "recommendation-requests": wire.request,
    "recommendation-feedback": wire.feedback,
}
RECORDS = {
    "recommendations": (Answer,),
    "provenance": (Answer, Proof),
    "canary-events": (CanaryEvent,),
    "retraining-events": (retraining.Event,),
    "recommendation-quality": (Quality,),
    "feedback-loop-metrics": (FeedbackLoop,),
    "fairness-metrics": (Fairness,),
    "dead-letters": (DeadLetter,),
}


def refused_as(topic, message):
    """The reason that a message is refused for; None where it is read."""
    try:
        PARSERS[topic](json.dumps(message).encode())
    except BadMessage as refused:
        return refused.reason
    return None


IN_FIELDS = [(topic, field) for topic in PARSERS for field in reference.FIELDS[topic]]


# -- made pages ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", reference.PAGES)
def test_a_page_that_is_made_from_the_code_is_fresh(name):
    assert (DOCS / name).read_text() == reference.PAGES[name](), "make docs"


def test_every_topic_has_fields_or_a_note_or_is_not_written_yet():
    described = reference.FIELDS.keys() | reference._NOTES.keys() | reference.NOT_WRITTEN
    assert described == TOPICS.keys()


@pytest.mark.parametrize("topic", PARSERS)
def test_an_example_is_read(topic):
    PARSERS[topic](json.dumps({**reference.example(topic), "a field from the future": 1}).encode())


@pytest.mark.parametrize(("topic", "field"), IN_FIELDS, ids=lambda part: getattr(part, "name", part))
def test_only_a_field_that_may_be_missing_may_be_missing(topic, field):
    message = reference.example(topic)
    del message[field.name]
    value = json.dumps(message).encode()
    if field.optional:
        PARSERS[topic](value)
    else:
        with pytest.raises(BadMessage) as refused:
            PARSERS[topic](value)
        assert refused.value.reason == "missing_field"


@pytest.mark.parametrize("topic", RECORDS)
def test_what_is_written_has_the_fields_of_the_page(topic):
    documented = reference.FIELDS[topic]
    written = [field for record in RECORDS[topic] for field in msgspec.structs.fields(record)]
    assert {field.name for field in documented} == {field.encode_name for field in written}
    assert {field.name for field in documented if field.optional} == {f.encode_name for f in written if not f.required}
    for record in RECORDS[topic]:
        msgspec.json.decode(json.dumps(reference.example(topic)), type=record)


def test_the_lines_of_the_page_are_one_of_each_kind():
    found = [type(movielog.parse(line.encode(), wire.Limits())) for line in reference.LINES]
    assert set(found) == set(get_args(movielog.Record))
    assert len(found) == len(set(found))


def test_nothing_writes_to_a_topic_that_is_said_to_be_unwritten():
    named = {
        node.value
        for folder in ("streams", "pipelines")
        for path in (ROOT / folder).rglob("*.py")
        if path != Path(reference.__file__)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert not named & reference.NOT_WRITTEN


def test_the_digest_of_a_configuration_is_computed_as_the_decision_says(tmp_path, monkeypatch, capsys):
    text = (DOCS / "decisions" / "0007-what-a-configuration-is-called.md").read_text()
    code = re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)[0]
    shutil.copy(ROOT / "config.json", tmp_path)
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    assert capsys.readouterr().out.strip() == config.parse((ROOT / "config.json").read_bytes()).sha256


# -- tables that are written by hand --------------------------------------------------------------------


def rows(heading):
    """The rows of the table under a heading of docs/operating.md, a list of cells each."""
    section = re.split(rf"^#+ {re.escape(heading)}$", (DOCS / "operating.md").read_text(), flags=re.MULTILINE)[1]
    section = re.split(r"^#", section, flags=re.MULTILINE)[0]
    table = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]


def test_every_metric_is_in_the_table_with_its_labels():
    exported = {}
    for instrument in vars(metrics).values():
        if isinstance(instrument, MetricWrapperBase):
            suffix = "_total" if instrument._type == "counter" else ""
            exported[f"`{instrument._name}{suffix}`"] = (instrument._type, ", ".join(instrument._labelnames))
    assert {name: (kind, labels) for name, kind, labels, *_ in rows("Metrics")} == exported


def test_every_reason_of_a_dead_letter_is_in_the_table():
    assert [row[0].strip("`") for row in rows("Dead letters")] == list(REASONS)


def test_every_reason_of_an_answer_is_in_the_table():
    assert [row[0].strip("`") for row in rows("Reasons of answers")] == list(get_args(AnswerReason))


# -- commands -------------------------------------------------------------------------------------------


def command_lines(text):
    """The shell lines of fenced `sh` blocks, continuation lines joined."""
    for block in re.findall(r"^```sh\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
        yield from (line for line in block.replace("\\\n", " ").splitlines() if line.strip())


def examples_of_help():
    for words, command in COMMANDS.items():
        for line in (command.help or "").splitlines():
            if line.strip().startswith("canarec ") or "| canarec " in line:
                yield pytest.param(re.split(r" {3,}", line.strip())[0], id=f"{' '.join(words)} --help")


def shell_lines():
    for page in PAGES:
        for line in command_lines(page.read_text()):
            yield pytest.param(line, id=f"{page.relative_to(ROOT)}: {line.strip()[:60]}")


def simple_commands(line):
    """The words of each simple command of a line, without redirections, assignments and comments."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    found = [[]]
    redirected = False
    for word in lexer:
        if re.fullmatch(r"[|&;]+", word):
            found.append([])
        elif re.fullmatch(r"[<>]+", word):
            redirected = True
        elif redirected:
            redirected = False
        elif found[-1] or not re.fullmatch(r"[A-Za-z_]\w*=.*", word):
            found[-1].append(word)
    return [words for words in found if words]


def accepts(words):
    """Raises click's own error unless the parser takes these words. Runs nothing and opens no file."""
    command, context, arguments = (
        canarec,
        click.Context(canarec, info_name="canarec", **canarec.context_settings),
        words,
    )
    while True:
        values, rest, _ = command.make_parser(context).parse_args(list(arguments))
        if not isinstance(command, click.Group):
            break
        assert rest, f"{' '.join(words)}: names no command"
        found = command.get_command(context, rest[0])
        assert found is not None, f"{' '.join(words)}: there is no command {rest[0]}"
        command, context, arguments = found, click.Context(found, context, info_name=rest[0]), rest[1:]
    assert not rest, f"{' '.join(words)}: too many arguments: {rest}"
    for parameter in command.params:
        given = values.get(parameter.name)
        if isinstance(given, str) and not isinstance(parameter.type, click.File | click.Path):
            parameter.type_cast_value(context, given)
        assert not isinstance(parameter, click.Argument) or not parameter.required or isinstance(given, str), (
            f"{' '.join(words)}: {parameter.name} is missing"
        )


@pytest.mark.parametrize("line", [*shell_lines(), *examples_of_help()])
def test_a_command_that_is_shown_exists(line):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for words in simple_commands(line):
        if words[0].removeprefix(".venv/bin/") == "canarec":
            if words[-1] not in ("--help", "-h", "--version"):
                accepts(words[1:])
        elif words[0] == "make":
            assert {word for word in words[1:] if "=" not in word} <= targets


@pytest.mark.parametrize("words", [["upp"], ["up", "--fro", "3"], ["recommend"], ["recommend", "42", "-n", "0"]])
def test_a_command_that_does_not_exist_would_be_noticed(words):
    with pytest.raises((AssertionError, click.UsageError)):
        accepts(words)


def test_every_command_has_a_help_text_with_an_example():
    leaves = {words: command for words, command in COMMANDS.items() if not isinstance(command, click.Group)}
    without = [
        " ".join(words) for words, command in leaves.items() if f"\n      {' '.join(words)}" not in _help(command)
    ]
    assert not without


def _help(command):
    return "\n" + "\n".join(f"      {line.strip()}" for line in (command.help or "").splitlines())


def test_pythons_in_the_readme_are_python():
    for block in re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), flags=re.MULTILINE | re.DOTALL):
        compile(block, "README.md", "exec")


def test_a_mitigation_that_is_shown_is_a_configuration():
    text = (DOCS / "fairness.md").read_text()
    shown = [config.parse(block).config for block in re.findall(r"^```json\n(.*?)^```", text, re.MULTILINE | re.DOTALL)]
    assert [each.training.group_weights for each in shown if each.training != config.Training()] == [{"F": 2}]
    assert [each.exposure.share for each in shown if each.exposure != config.Exposure()] == [0.2]


# -- links ----------------------------------------------------------------------------------------------


def anchors(page):
    """GitHub's anchors of a page's headings."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    found = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.replace("`", "").lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"(?:\]\(|src=\"|href=\")([^)\"\s]+)", page.read_text()):
        if re.match(r"https?://", target):
            continue  # another site's pages are for it to keep
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), target
        if anchor:
            assert anchor in anchors(there), target


def test_pages_name_no_registry():
    for path in [*PAGES, *DOCS.rglob("*.svg")]:
        found = re.findall(
            r"[\w.-]*(?:pypi|maven|docker|registry|quay|ghcr)[\w-]*\.(?:org|io|com|net)\b", path.read_text()
        )
        assert not found, f"{path.name}: {found}"


def test_decisions_are_numbered_without_a_gap_and_listed():
    pages = sorted(path.name for path in (DOCS / "decisions").glob("[0-9]*.md"))
    assert [name[:4] for name in pages] == [f"{number:04}" for number in range(1, len(pages) + 1)]
    listed = (DOCS / "decisions" / "README.md").read_text()
    assert all(f"({name})" in listed for name in pages)
    for name in pages:
        text = (DOCS / "decisions" / name).read_text()
        assert all(f"\n## {part}\n" in text for part in ("Context", "Choice", "What we gave up"))
