"""`canarec config`: what is wrong with config.json, and what it may hold."""

import json

import click

from models import config as configuration
from models.errors import UsageError
from models.recommenders import store
from streams.cli.options import home_option
from streams.home import Home


@click.group()
def config() -> None:
    """What is wrong with config.json, and its JSON Schema.

    \b
    Example:
      canarec config check
    """


@config.command()
@home_option
def check(home: Home) -> None:
    """Whether config.json would be applied: its config_sha256, or the path of the wrong key and what was expected (exit 2).

    \b
    Example:
      canarec config check --home /srv/canarec
    """
    if not home.path.is_dir():
        raise UsageError(f"--home {home.path}: no such folder")
    applied = home.load()
    home.cluster("127.0.0.1:9092").admin()  # librdkafka's own judgement of its properties; nobody is asked
    what = home.config if home.config.exists() else f"no {home.config}: the defaults"
    click.echo(f"ok: {what}, config_sha256 {applied.sha256}")
    for problem in missing_models(home, applied):
        click.echo(f"warning: {problem}", err=True)


@config.command()
def schema() -> None:
    """The JSON Schema of config.json, every key with its meaning.

    \b
    Example:
      canarec config schema > config.schema.json
    """
    click.echo(json.dumps(configuration.schema(), indent=2, ensure_ascii=False))


def missing_models(home: Home, applied: configuration.Applied) -> list[str]:
    """The versions that the split names and the home does not hold, a sentence each."""
    canary, there = applied.config.canary, store.list_versions(home.models)
    return [
        f"canary.{role}: there is no model {version} in {home.models}"
        for role, version in (("stable", canary.stable), ("candidate", canary.candidate))
        if version is not None and version not in there
    ]
