"""A home as a project of DVC: what it needs to be one, and `dvc repro` in it.

A home that is the root of a git repository is tracked by it; any other (in a folder of one, or where there is no git) stands
alone, as after `dvc init --no-scm`. Remote and locks are looked after here; what the stages do, in `pipelines.stages`.
"""

import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen
from typing import Any

import psutil

from models.errors import CanarecError

REMOTE = "canarec"  # the remote's name in DVC's configuration: credentials are set for it there
PARAMETERS = (  # of `training`: dvc.yaml names each
    "recipes",
    "next",
    "versions",
    "group_weights",
    "validation",
    "data_gate",
    "model_gate",
)

_CONFIG = f"""\
[core]
    remote = {REMOTE}
    analytics = false
    check_update = false
['remote "{REMOTE}"']
    url = ../artifacts/remote
"""
_GITIGNORE = "/config.local\n/tmp\n/cache\n"
_IGNORED = """\
# Of all that lies in a home, DVC looks at its own files only.
/*
!/config.json
!/dvc.yaml
!/dvc.lock
!/artifacts
/artifacts/*
!/artifacts/pipeline
!/artifacts/versions
"""
_CHATTER = (
    "Generating lock file",
    "Updating lock file",
    "Use `dvc push`",
    "To track the changes",
    "To enable auto staging",
    "\tgit add",
    "\tdvc config",
)
_STAGE = re.compile(r"(?:Running stage|Stage) '([^']+)'")

Start = Callable[..., Popen[bytes]]  # streams.processes.start: a child that dies with us


@dataclass(frozen=True, slots=True)
class Reproduced:
    """How `dvc repro` ended. `reason`: in one line, where it failed."""

    code: int
    stage: str | None  # that it came to last
    reason: str | None


def prepare(home: Path, remote: str | None) -> None:
    """Makes the home a project of DVC, unless it is one. What is there stays as it is, but for `.dvc/config.local`.

    remote: `retraining.remote`, None for `artifacts/remote`. Errors: CanarecError where it cannot be written.
    """
    try:
        laid = {
            ".dvc/.gitignore": _GITIGNORE,
            ".dvc/config": _CONFIG,
            ".dvcignore": _IGNORED,
            "dvc.yaml": files("pipelines").joinpath("pipeline.yaml").read_text(),
        }
        for name, content in laid.items():
            _lay(home / name, content)
        _configure(home, remote)
    except OSError as error:
        raise CanarecError(f"{error.filename or home}: cannot be written: {error.strerror}") from None


def environment(home: Path, bootstrap_servers: str, now: datetime | None = None) -> dict[str, str]:
    """For DVC and the stages: they find `canarec` and the brokers; what DVC remembers of files stays in the home. `now`: a set clock."""
    beside = str(Path(sys.executable).parent)
    return {
        **os.environ,
        "PATH": f"{beside}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "SHELL": "/bin/sh",
        "DVC_SITE_CACHE_DIR": str(home / ".dvc" / "tmp" / "site"),
        "DVC_NO_ANALYTICS": "1",
        "CANAREC_BOOTSTRAP_SERVERS": bootstrap_servers,
        **({} if now is None else {"CANAREC_NOW": now.isoformat()}),
    }


def reproduce(
    home: Path, start: Start, environment: Mapping[str, str], show: Callable[[str], None] = lambda line: None
) -> Reproduced:
    """`dvc repro`; `show` gets its output line by line."""
    process = start([sys.executable, "-m", "dvc", "repro"], env=environment, cwd=home, stdout=PIPE, stderr=STDOUT)
    stage, errors = None, []
    assert process.stdout is not None
    with process.stdout as output:
        for raw in output:
            line = raw.decode(errors="replace").rstrip()
            if found := _STAGE.match(line):
                stage = found[1]
            if line.startswith(("canarec: ", "ERROR: ")):
                errors.append(line)
            if line and not line.startswith(_CHATTER):
                show(line)
    code = process.wait()
    return Reproduced(code, stage, None if code == 0 else _reason(code, stage, errors))


def free(home: Path) -> None:
    """Removes what a killed DVC has left in `.dvc/tmp`, unless one is at work there.

    Its list of locks may be half written; whole, it may name a process number that another program has by now.
    """
    left = home / ".dvc" / "tmp" / "rwlock"
    if left.exists() and not at_work(home):
        left.unlink(missing_ok=True)


def at_work(home: Path) -> list[int]:
    """The processes of DVC that are at work in this home."""
    found = []
    for process in psutil.process_iter(["pid", "cmdline", "cwd"]):
        command, folder = process.info["cmdline"] or [], process.info["cwd"]
        is_dvc = any(Path(word).name == "dvc" for word in command[:4])
        if is_dvc and folder is not None and Path(folder).is_relative_to(home.resolve()):
            found.append(process.info["pid"])
    return found


@contextmanager
def opened(home: Path) -> Iterator[Any]:
    """DVC's view of the home, for what its commands do, in this process. Its errors are CanarecErrors here."""
    logging.getLogger("dvc").setLevel(logging.WARNING)
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc.scm import SCMError

    try:
        with Repo(str(home), config={"core": {"site_cache_dir": str(home / ".dvc" / "tmp" / "site")}}) as repo:
            yield repo
    except (DvcException, SCMError) as error:
        raise CanarecError(f"DVC: {one_line(str(error))}") from error


def tidy(home: Path) -> None:
    """Removes from DVC's cache what neither the pipeline nor a version needs. In a git repository older commits may: then nothing."""
    if not _is_git_root(home):
        with opened(home) as repo:
            repo.gc(workspace=True)


def _configure(home: Path, remote: str | None) -> None:
    """`.dvc/config.local`, which git does not track: how it is on this machine, beside what a user has put there."""
    path = home / ".dvc" / "config.local"
    alone = not _is_git_root(home)
    noted = path.with_name("tmp") / "canarec.json"  # what we have written: DVC takes a second to be asked
    wanted = json.dumps({"no_scm": alone, "remote": remote, "of": path.read_text() if path.exists() else None})
    if noted.exists() and noted.read_text() == wanted:
        return
    from dvc.config import Config, ConfigError

    try:
        with Config(str(home / ".dvc")).edit("local") as local:
            local["core"].pop("no_scm", None)
            if alone:
                local["core"]["no_scm"] = True
            own = local["remote"].setdefault(REMOTE, {})
            own.pop("url", None)
            if remote is not None:
                own["url"] = remote if "://" in remote else str((home / remote).resolve())
            if not own:
                del local["remote"][REMOTE]
    except ConfigError as error:
        raise CanarecError(f"{home / '.dvc'}: {one_line(str(error))}") from None
    noted.parent.mkdir(exist_ok=True)
    wanted = json.dumps({"no_scm": alone, "remote": remote, "of": path.read_text() if path.exists() else None})
    noted.write_text(wanted)


def _is_git_root(home: Path) -> bool:
    return (home / ".git").exists()


def _lay(path: Path, content: str) -> None:
    """A new file, whole or not there."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.partial")
        aside.write_text(content)
        aside.replace(path)


def _reason(code: int, stage: str | None, errors: Sequence[str]) -> str:
    """In one line: what the stage said, else what DVC said last."""
    said = [line.removeprefix("canarec: ") for line in errors if line.startswith("canarec: ")]
    if said:
        return f"{stage}: {said[-1]}"
    if code < 0:
        return f"{stage or 'dvc'}: killed by signal {-code}"
    why = [one_line(line.removeprefix("ERROR: ")) for line in errors]
    return "; ".join(why) or f"dvc repro ended with exit code {code}"


def one_line(text: str) -> str:
    """Whatever a library says, without its line ends."""
    return " ".join(text.split())
