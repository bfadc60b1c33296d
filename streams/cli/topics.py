"""`canarec topics`: the topics made, and who may do what with them."""

import click

from streams.cli.options import cluster_options
from streams.home import Home


@click.group()
def topics() -> None:
    """The topics of the contract: made by whoever may, and what each part of canarec must be allowed.

    \b
    Example:
      canarec topics make
    """


@topics.command()
@cluster_options
def make(home: Home, bootstrap_servers: str) -> None:
    """Makes the topics that are missing, and names those that are not as they should be. Changes none that is there.

    For clusters on which workers may make no topics; else they do it themselves.

    \b
    Example:
      canarec topics make --bootstrap-servers kafka:9092
    """
    from streams import topics as library

    applied, cluster = home.load(), home.cluster(bootstrap_servers)
    made = library.ensure(cluster, applied)
    click.echo(f"made: {', '.join(made)}" if made else "all are there already")
    for difference in library.differences(cluster, applied):
        click.echo(f"warning: {difference}", err=True)


@topics.command()
@click.argument("part", required=False)
@click.option("--principal", help="Who gets them: the name behind `User:`. [default: canarec-PART]")
@click.option("--apply", "applies", is_flag=True, help="Add them to the cluster, by this user, who must be allowed to.")
@cluster_options
def acls(part: str | None, principal: str | None, applies: bool, home: Home, bootstrap_servers: str) -> None:
    """The least that a cluster must allow to a PART of canarec (all of them, if none is named), as lines of kafka-acls.sh.

    docs/acls.md has the parts and what each may do.

    \b
    Example:
      canarec topics acls worker --principal canarec-worker
      canarec topics acls requester --principal shop --apply
    """
    from models import acls as table
    from streams import acls as library

    if part is None and principal is not None:
        raise click.UsageError("--principal is for one PART")
    applied = home.load()
    for name in (part,) if part is not None else table.PARTS:
        who = principal or f"canarec-{name}"
        found = table.grants(name, applied, who)
        if applies:
            library.allow(home.cluster(bootstrap_servers), found, who)
            click.echo(f"User:{who} may do what {name} needs: {len(found)} ACLs")
        else:
            for line in library.commands(found, who, bootstrap_servers):
                click.echo(line)
