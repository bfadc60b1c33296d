"""The command `canarec`. A command here chooses and prints; what it does stands in the library.

A user's mistake is one line on stderr: exit 2 for a wrong call or configuration, 1 for a failure at work.
"""

import importlib
import os
import re
import sys
from collections.abc import Mapping

# One BLAS thread, before numpy is imported: training and scoring would fight over the cores, and training is only
# bit-identical with one.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from typing import Any, ClassVar

import click
from confluent_kafka import KafkaError, KafkaException

from models.errors import BadConfig, CanarecError, UsageError
from streams import logs


class Commands(click.Group):
    """Imports a command's module only when it is called: `canarec --help` must not wait for scipy."""

    lazy: ClassVar = {
        "analyze": "feedback loop and fairness, as numbers and a page",
        "api": "HTTP in front of the topics, and the live page",
        "broker": "just the embedded Apache Kafka",
        "canary": "how the split stands, and its changes",
        "config": "what is wrong with config.json",
        "dead-letters": "what was refused and why, and published again",
        "doctor": "what is wrong with this machine, this home and these topics",
        "erase": "a user removed, and a report of what is gone",
        "import": "publish a data set, or a movie service's log, as events",
        "models": "versions, their metadata and checksums",
        "provenance": "what made an answer, the answer made again, why two differ",
        "recommend": "one question, one answer, as a table",
        "retrain": "train now, or if it is time",
        "scheduler": "retrains when the rule says so",
        "simulate": "users who ask, choose, watch and rate",
        "topics": "the topics made, and who may do what with them",
        "up": "everything on this machine: broker, data, models, worker, users",
        "windows": "the closed windows' figures, and each computed again",
        "worker": "one stream worker, supervised",
    }

    unlisted: ClassVar = frozenset({"pipeline"})  # for dvc.yaml

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self.lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.lazy and cmd_name not in self.unlisted:
            return None
        name = cmd_name.replace("-", "_")
        module = importlib.import_module("streams.cli." + {"import": "imports"}.get(name, name))
        command: click.Command = getattr(module, {"import": "import_"}.get(name, name))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(sorted(self.lazy.items()))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="canarec", prog_name="canarec")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    envvar="CANAREC_LOG_LEVEL",
    help="What is logged to stderr.",
)
def canarec(log_level: str) -> None:
    """A movie recommender that lives on Kafka.

    \b
    Example:
      canarec up --data ml-latest-small      everything on this machine
      canarec recommend 42 -n 10             one question, one answer
    """
    logs.configure(level=log_level)


def main(arguments: list[str] | None = None) -> Any:
    """The console script."""
    given: dict[str, str] = {}  # options that a command which an error suggests needs, too
    try:
        canarec.main(arguments, prog_name="canarec", standalone_mode=False, obj=given)
    except click.exceptions.Exit as exit_:
        sys.exit(exit_.exit_code)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        sys.exit(2)
    except click.ClickException as error:
        _fail(error.format_message(), 2, given)
    except UnicodeEncodeError:
        _fail("an argument is not UTF-8 text", 2, given)
    except (UsageError, BadConfig) as error:
        _fail(str(error), 2, given)
    except CanarecError as error:
        _fail(str(error), 1, given)
    except KafkaException as error:
        told = error.args[0]
        advice = ": `canarec topics acls` has what to allow" if told.code() in _NOT_ALLOWED else ""
        _fail(told.str() + advice, 1, given)
    except OSError as error:  # a full disk, a folder that may not be written: nothing that a traceback would explain
        where = f"{error.filename}: " if error.filename is not None else ""
        _fail(f"{where}{error.strerror or error}", 1, given)


_NOT_ALLOWED = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
)


def _fail(error: str, code: int, given: Mapping[str, str]) -> None:
    from streams.cli.hints import complete

    line = re.sub(r"[\x00-\x1f\x7f]", lambda found: repr(found[0])[1:-1], complete(error, given))
    print(f"canarec: {line}", file=sys.stderr)
    sys.exit(code)
