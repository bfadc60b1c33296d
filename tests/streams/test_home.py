"""A home: its file is read, made once, and changed as a whole."""

import errno
import fcntl
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from models import config
from models.errors import BadConfig, CanarecError, UsageError
from streams.home import Home, _not_written, write_whole


def test_a_home_without_a_file_has_the_defaults(tmp_path):
    assert Home(tmp_path).load().config == config.Config()


def test_a_prepared_home_has_a_file_that_says_the_same(tmp_path):
    Home(tmp_path).prepare()
    assert Home(tmp_path).load().config == config.Config()


def test_a_file_that_is_there_stays_as_it_is(tmp_path):
    home = Home(tmp_path)
    home.config.write_text('{"canary": {"percentage": 3}}')
    home.prepare()
    assert home.config.read_text() == '{"canary": {"percentage": 3}}'


def test_a_wrong_file_is_refused_with_its_path(tmp_path):
    home = Home(tmp_path)
    home.config.write_text('{"canary": {"percentage": 300}}')
    with pytest.raises(BadConfig, match=r"canary\.percentage"):
        home.load()


def test_a_file_that_cannot_be_read_is_one_clear_line(tmp_path):
    home = Home(tmp_path)
    home.config.mkdir()
    with pytest.raises(BadConfig, match="cannot be read"):
        home.load()


def test_a_file_is_replaced_as_a_whole_and_nothing_stays_beside_it(tmp_path):
    path = tmp_path / "sub" / "file"
    write_whole(path, b"one")
    with path.open("rb") as reader:
        write_whole(path, b"two")
        assert reader.read() == b"one"  # whoever had it open reads on in the old one
    assert path.read_bytes() == b"two"
    assert os.listdir(path.parent) == ["file"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    (tmp_path / "file").mkdir()  # cannot be replaced by a file
    with pytest.raises(OSError, match="file"):
        write_whole(tmp_path / "file", b"one")
    assert os.listdir(tmp_path) == ["file"]


# -- a change of the configuration ------------------------------------------------------------------------

WRITTEN = """{
  "release": {"steps": [0, 1, 100]},
  "canary": {"stable": "v1", "candidate": "v2", "percentage": 10.0},

  "kafka": {"sasl.password": "g\u00e9heim"}
}
"""


def set_to(percentage):
    def edit(raw):
        raw["canary"]["percentage"] = percentage

    return edit


@pytest.fixture
def home(tmp_path):
    home = Home(tmp_path)
    home.config.write_text(WRITTEN)
    return home


def test_a_change_leaves_every_other_byte_as_it_is(home):
    before, after = home.change(set_to(60))
    assert home.config.read_text() == WRITTEN.replace("10.0", "60")
    assert (before.config.canary.percentage, after.config.canary.percentage) == (10, 60)
    assert before == config.parse(WRITTEN)
    assert after == home.load()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_file_keeps_its_encoding(home, encoding):
    home.config.write_bytes(WRITTEN.encode(encoding))
    home.change(set_to(60))
    assert home.config.read_bytes() == WRITTEN.replace("10.0", "60").encode(encoding)


def test_what_changes_nothing_does_not_touch_the_file(home):
    was = home.config.stat()
    before, after = home.change(set_to(10.0))
    assert before == after
    assert (home.config.stat().st_ino, home.config.stat().st_mtime_ns) == (was.st_ino, was.st_mtime_ns)


def test_a_change_that_would_be_refused_leaves_the_file_and_nothing_beside_it(home):
    with pytest.raises(BadConfig, match=r"canary\.percentage"):
        home.change(set_to(101))
    assert home.config.read_text() == WRITTEN
    assert sorted(os.listdir(home.path)) == ["artifacts", "config.json"]


def test_an_edit_that_fails_leaves_the_file(home):
    with pytest.raises(KeyError):
        home.change(lambda raw: raw["no such"].clear())
    assert home.config.read_text() == WRITTEN


@pytest.mark.parametrize("broken", ['{"canary": ', '{"canary": {"percentage": 101}}', "[]", "", '{"canari": 1}'])
def test_a_broken_file_is_never_overwritten(home, broken):
    home.config.write_text(broken)
    with pytest.raises(BadConfig):
        home.change(lambda raw: raw.update(canary={"percentage": 1}))
    assert home.config.read_text() == broken


def test_without_a_file_there_is_nothing_to_change(tmp_path):
    with pytest.raises(BadConfig, match="is not there: nothing to change"):
        Home(tmp_path).change(set_to(1))
    assert not (tmp_path / "config.json").exists()


def test_a_home_that_is_not_there_is_not_made(tmp_path):
    with pytest.raises(UsageError, match="no such folder"):
        Home(tmp_path / "none").change(set_to(1))
    assert not (tmp_path / "none").exists()


def test_a_file_keeps_its_permissions(home):
    home.config.chmod(0o600)  # it may hold a password
    home.change(set_to(60))
    assert stat.S_IMODE(home.config.stat().st_mode) == 0o600


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give a file away")
def test_a_file_that_root_changes_still_belongs_to_its_owner(home):
    os.chown(home.config, 12_345, 54_321)
    home.change(set_to(60))
    assert (home.config.stat().st_uid, home.config.stat().st_gid) == (12_345, 54_321)


def test_a_link_is_followed(home, tmp_path):
    real = tmp_path / "git" / "shop.json"
    real.parent.mkdir()
    home.config.rename(real)
    home.config.symlink_to(os.path.join("git", "shop.json"))
    home.change(set_to(60))
    assert home.config.is_symlink()
    assert real.read_text() == WRITTEN.replace("10.0", "60")


def test_a_link_to_nothing_is_said_to_be_one(home):
    home.config.unlink()
    home.config.symlink_to("gone.json")
    with pytest.raises(BadConfig, match=r"is a link to .*gone\.json, which is not there"):
        home.change(set_to(60))
    assert not (home.path / "gone.json").exists()


def test_a_read_only_mount_is_one_clear_line():
    error = OSError(errno.EROFS, "Read-only file system")
    line = _not_written(Path("/srv/config.json"), Path("/srv/config.json"), error)
    assert line.startswith(
        "/srv/config.json is mounted and cannot be replaced from here: change it where it comes from"
    )


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_one_clear_line(home):
    home.artifacts.mkdir()
    home.path.chmod(0o500)
    try:
        with pytest.raises(CanarecError, match=r"config\.json cannot be written: Permission denied"):
            home.change(set_to(60))
    finally:
        home.path.chmod(0o700)
    assert home.config.read_text() == WRITTEN


ADD = """
import sys
from pathlib import Path
from streams.home import Home

def edit(raw):
    raw.setdefault("simulator", {})["seed"] = raw.get("simulator", {}).get("seed", 0) + 1

for _ in range(int(sys.argv[2])):
    Home(Path(sys.argv[1])).change(edit)
"""


def test_changes_at_the_same_time_are_all_made(home):
    command = [sys.executable, "-P", "-c", ADD, str(home.path), "15"]
    running = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    assert home.load().config.simulator.seed == 45
    assert home.config.read_text().startswith(WRITTEN.rstrip()[:-2].rstrip())


def test_a_process_that_holds_the_lock_for_ever_is_named(home, monkeypatch):
    monkeypatch.setattr("streams.home.LOCK_S", 0.1)
    home.artifacts.mkdir()
    with (home.artifacts / "config.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(CanarecError, match=r"another process has been changing .*config\.lock"):
            home.change(set_to(60))
    assert home.config.read_text() == WRITTEN
    home.change(set_to(60))
