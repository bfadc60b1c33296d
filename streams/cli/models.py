"""`canarec models`: the versions at hand."""

import json
import sys
from dataclasses import asdict

import click

from models.errors import BadArtifact, NoModel, UsageError
from models.recommenders import store
from models.recommenders.store import Metadata
from pipelines import erasures
from pipelines.places import Places
from pipelines.versions import pushed
from streams.cli.hints import complete
from streams.cli.options import cluster_options, home_option
from streams.home import Home
from streams.shown import console, versions


@click.group()
def models() -> None:
    """Model versions, their metadata and checksums.

    \b
    Example:
      canarec models list
    """


@models.command("list")
@home_option
def list_(home: Home) -> None:
    """The versions, at hand or in the remote: who serves or is next, how good each was on held-out interactions, which know an erased user.

    \b
    Example:
      canarec models list --home /srv/canarec
    """
    found: dict[str, Metadata | None] = {}
    for version in _versions(home):
        try:
            found[version] = store.read_metadata(home.models, version)
        except BadArtifact:
            found[version] = None
    places = Places(home.path)
    remote, refused = pushed(places), store.list_versions(places.rejected)
    if not found and not remote:
        click.echo(complete(_none_in(home), click.get_current_context().obj or {}))
        return
    try:
        erased = erasures.marked(home.artifacts)
    except BadArtifact as error:
        click.echo(f"warning: no version is marked as trained on an erased user's data: {error}", err=True)
        erased = {}
    console().print(versions(found, home.load().config.canary, remote, refused, erased))


@models.command()
@cluster_options
def train(home: Home, bootstrap_servers: str) -> None:
    """Trains the versions of `training.versions` that are missing, from what the topics hold: the first models of a home.

    `canarec up` does the same. Newer versions come from `canarec retrain`.

    \b
    Example:
      canarec models train
    """
    from pipelines import first_models

    home.prepare()
    applied = home.load()
    made = first_models.ensure(home.models, home.cluster(bootstrap_servers), applied)
    click.echo(f"trained {', '.join(made)}" if made else "nothing is missing")
    click.echo(first_models.report(home.models, list(applied.config.training.versions)))


@models.command()
@click.argument("version")
@home_option
def show(version: str, home: Home) -> None:
    """The metadata of VERSION: how and from what it was trained, its figures, its checksums.

    \b
    Example:
      canarec models show v1
    """
    if version not in (there := _versions(home)):
        raise NoModel(f"{version!r}: no such model version in {home.models}; there are: {', '.join(there) or 'none'}")
    described = asdict(store.read_metadata(home.models, version))
    click.echo(json.dumps(described, indent=2, sort_keys=True, ensure_ascii=False))


@models.command()
@home_option
def verify(home: Home) -> None:
    """Compares every file with its checksum and reads every model; one line a problem.

    Exit 1 where anything is wrong, or where there is nothing to verify; 2 where there is no such home.

    \b
    Example:
      canarec models verify
    """
    there = _versions(home)
    if not there:
        raise NoModel(_none_in(home))
    problems = [problem for version in there for problem in store.verify(home.models, version)]
    for problem in problems:
        click.echo(problem)
    if problems:
        sys.exit(1)
    click.echo(f"{', '.join(there)}: as they were written")


@models.command()
@click.argument("version")
@home_option
def fetch(version: str, home: Home) -> None:
    """Brings VERSION back from the DVC remote, by its hash; a damaged one is replaced.

    \b
    Example:
      canarec models fetch v1
    """
    from pipelines import project
    from pipelines.versions import fetch as fetched

    _versions(home)
    project.prepare(home.path, home.load().config.retraining.remote)
    click.echo(f"{fetched(Places(home.path), version)}: whole, and at hand")


def _versions(home: Home) -> list[str]:
    """The versions of a home that is there."""
    if not home.path.is_dir():
        raise UsageError(f"--home {home.path}: no such folder")
    return store.list_versions(home.models)


def _none_in(home: Home) -> str:
    return f"no models in {home.models}: `canarec up` trains the first two"
