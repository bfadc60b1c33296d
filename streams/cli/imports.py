"""`canarec import`: publishes data sets and logs as events."""

from pathlib import Path
from typing import IO

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from pipelines import movielens as movielens_folder
from pipelines import movielog as movielog_file
from streams import topics
from streams.cli.options import Folder, cluster_options
from streams.home import Home

BAD_LINES_SHOWN = 20


@click.group("import")
def import_() -> None:
    """Publish a data set, or a movie service's log, as events.

    \b
    Example:
      canarec import movielens ml-latest-small
    """


@import_.command()
@click.argument("folder", type=Folder(exists=True))
@cluster_options
def movielens(folder: Path, home: Home, bootstrap_servers: str) -> None:
    """A MovieLens FOLDER as catalogue, profiles and rating events.

    Every layout is known by its content: ml-100k, ml-1m, ml-10m, and the CSV releases. Importing the same folder again
    changes nothing; an import that was stopped half-way goes on where it was.

    \b
    Example:
      canarec import movielens ml-latest-small
    """
    cluster, applied = home.cluster(bootstrap_servers), home.load()
    movielens_folder.read(folder, applied.config.events.limits())  # a wrong folder is said before Kafka is asked
    topics.ensure(cluster, applied)
    with Bars() as bars:
        done = movielens_folder.publish(folder, cluster, applied, bars.show, report=bars.report)
    published = ", ".join(f"{number:,} {what}" for what, number in done.published.items())
    there = ", ".join(f"{number:,} {what}" for what, number in done.present.items() if number)
    click.echo(f"published {published}; there already: {there or 'nothing'}; bad lines: {done.bad_lines:,}")


@import_.command()
@click.argument("file", type=click.File("rb"))
@click.option("--again", is_flag=True, help="Publish every line, also those that an import has published before.")
@cluster_options
def movielog(file: IO[bytes], again: bool, home: Home, bootstrap_servers: str) -> None:
    """A movie service's log FILE (plain or gzip; - for standard input) as raw lines.

    Importing the same file again publishes only what is missing.

    \b
    Example:
      canarec import movielog kafka-log.csv
      zcat logs/*.gz | canarec import movielog -
    """
    cluster, applied = home.cluster(bootstrap_servers), home.load()
    topics.ensure(cluster, applied)
    with Bars() as bars:
        done = movielog_file.publish(file, cluster, applied, bars.show, report=bars.report, again=again)
    click.echo(f"published {done.published:,} lines; there already: {done.present:,}; bad lines: {done.bad_lines:,}")


class Bars:
    """One bar for each thing that is done, on stderr; a line at each fifth where stderr is no terminal."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[lines]:>12,}"),
            TimeElapsedColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._fifths: dict[str, int] = {}
        self._bad_lines = 0

    def __enter__(self) -> "Bars":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()
        if self._bad_lines > BAD_LINES_SHOWN:
            self._say(f"… and {self._bad_lines - BAD_LINES_SHOWN:,} bad lines more")

    def show(self, what: str, lines: int, share: float) -> None:
        """How far one thing is."""
        if not self._console.is_terminal:
            fifth = int(5 * share)
            if self._fifths.get(what) != fifth:
                self._fifths[what] = fifth
                self._say(f"{what}: {lines:,} lines, {share:.0%}")
            return
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(what, total=1.0, lines=0)
        self._progress.update(self._tasks[what], completed=share, lines=lines)

    def report(self, bad_line: str) -> None:
        """One bad line; only the first ones are shown."""
        self._bad_lines += 1
        if self._bad_lines <= BAD_LINES_SHOWN:
            self._say(bad_line)

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)
