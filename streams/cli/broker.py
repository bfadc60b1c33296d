"""`canarec broker`: the embedded Kafka alone."""

import signal
from pathlib import Path

import click

from streams.broker import Broker
from streams.cli.options import Folder, Host, Integer, home_option
from streams.home import Home
from streams.jars import KAFKA_VERSION


@click.command()
@home_option
@click.option("--port", default=9092, show_default=True, type=Integer(0, 65535), help="0: any free one, printed.")
@click.option("--data-dir", type=Folder(), help="Where Kafka keeps its data. [default: HOME/artifacts/kafka]")
@click.option("--host", default="127.0.0.1", type=Host(), show_default=True, help="The address to listen on.")
@click.option(
    "--advertised-host", type=Host(), help="The name that clients elsewhere know this machine by. [default: HOST]"
)
def broker(home: Home, port: int, data_dir: Path | None, host: str, advertised_host: str | None) -> None:
    """Just the embedded Apache Kafka (KRaft, one node), until Ctrl-C.

    Fetches Kafka once; Java comes with canarec. The data stay where they are, also when Kafka is killed.

    \b
    Example:
      canarec broker --port 9092 --data-dir /var/lib/canarec/kafka
    """
    for ending in (signal.SIGTERM, signal.SIGINT):  # SIGINT, too: a shell's background job starts with it ignored
        signal.signal(ending, signal.default_int_handler)
    kafka = Broker(data_dir or home.kafka, port=port, host=host, advertised_host=advertised_host, for_hours=True)
    try:
        kafka.start(fetching=FetchBar().show, saying=lambda step: click.echo(f"{step} …", err=True))
        click.echo(
            f"Kafka {KAFKA_VERSION} is ready on {kafka.bootstrap_servers} (data in {kafka.folder.path}, pid {kafka.pid}); Ctrl-C stops it"
        )
        kafka.wait()
    except KeyboardInterrupt:
        click.echo("stopping Kafka …", err=True)
    finally:
        kafka.stop()


class FetchBar:
    """The download of the jars as a progress bar on stderr; nothing where nothing is fetched."""

    def __init__(self) -> None:
        self._shown = -1

    def show(self, done: int, total: int, name: str) -> None:
        percent = 100 * done // total
        if percent == self._shown:
            return
        self._shown = percent
        interactive = click.get_text_stream("stderr").isatty()
        if interactive:
            click.echo(f"\rfetching Kafka: {percent:3d} % of {total / 1e6:.0f} MB ", err=True, nl=percent == 100)
        elif percent % 25 == 0:
            click.echo(f"fetching Kafka: {percent} % of {total / 1e6:.0f} MB", err=True)
