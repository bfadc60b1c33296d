"""The part of requirements.lock that canarec needs at work, without `dev`: each requirement with its hashes, as it stands there.

Reads pyproject.toml and requirements.lock beside it, and prints. Who needs whom stands in the lock's own `# via` comments. One that
were left out wrongly would not go unnoticed: pip refuses, in its hash-checking mode, what the file does not name.
"""

import re
import tomllib
from pathlib import Path


def requirements(lock: str) -> list[tuple[str, str, set[str]]]:
    """Of each requirement its name, its lines in the lock, and who needs it. One distribution may stand there for several Pythons."""
    found = []
    for block in re.split(r"^(?=[^\s#])", lock, flags=re.MULTILINE):
        if match := re.match(r"([\w.-]+)==", block):
            via = block.partition("# via")[2].replace("#", " ")
            found.append((match[1], block, set(re.findall(r"[\w.-]+(?=\s*(?:$|\())", via, flags=re.MULTILINE))))
    return found


def needed(lock: str, direct: set[str]) -> list[str]:
    """The blocks of what `direct` needs, itself included, in the lock's order."""
    known, wanted = requirements(lock), set(direct)
    while more := {name for name, _, via in known if via & wanted} - wanted:
        wanted |= more
    return [block for name, block, _ in known if name in wanted]


if __name__ == "__main__":
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    names = {re.split(r"[=\[ ;]", requirement)[0] for requirement in project["dependencies"]}
    print("".join(needed(Path("requirements.lock").read_text(), names)))
