"""The files of compose/ as they stand: what is published, pinned, secret, limited; that dashboards are fresh, and that each alert has its section."""

import importlib.util
import json
import re
from itertools import pairwise

import pytest
import yaml

from tests.compose.conftest import COMPOSE, ROOT

FILE = yaml.safe_load((COMPOSE / "compose.yaml").read_text())
SERVICES = FILE["services"]
OURS = ["worker", "api", "scheduler", "simulator"]


def module(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


dashboards = module(COMPOSE / "grafana" / "dashboards.py")
runtime = module(COMPOSE / "runtime.py")
PANELS = [(name, panel) for name, board in dashboards.DASHBOARDS.items() for panel in board["panels"]]


# -- compose.yaml ---------------------------------------------------------------------------------------


def test_what_is_published_is_on_this_machine_only():
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_only_what_people_open_is_published():
    assert {name for name, service in SERVICES.items() if "ports" in service} == {
        *("kafka", "api", "prometheus", "alertmanager", "grafana")
    }


@pytest.mark.parametrize("name", SERVICES)
def test_an_image_is_a_variable_with_a_pinned_default(name):
    variable, default = re.fullmatch(r"\$\{(\w+_IMAGE):-(.+)\}", SERVICES[name]["image"]).groups()
    assert variable
    if name not in OURS:
        assert re.search(r":v?\d+\.\d+\.\d+", default)


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_a_memory_limit_and_the_one_network(name):
    assert SERVICES[name]["mem_limit"]
    assert SERVICES[name]["networks"] == ["monitoring"]


@pytest.mark.parametrize("name", [*OURS, "prometheus", "alertmanager", "kafka-exporter"])
def test_nothing_of_a_container_can_be_written_but_its_volumes(name):
    service = SERVICES[name]
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_a_worker_can_be_scaled():
    assert not {"ports", "container_name", "hostname"} & SERVICES["worker"].keys()


def test_simulated_users_come_only_when_asked_for():
    assert {name: s["profiles"] for name, s in SERVICES.items() if "profiles" in s} == {"simulator": ["simulate"]}


def test_who_needs_another_waits_until_it_is_well():
    for name, service in SERVICES.items():
        for needed, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}, name
            assert needed in OURS or "healthcheck" in SERVICES[needed], needed


def test_secrets_are_files_that_git_does_not_track():
    assert all(secret["file"].startswith("./secrets/") for secret in FILE["secrets"].values())
    assert "/compose/secrets/" in (ROOT / ".gitignore").read_text().splitlines()
    for service in SERVICES.values():
        for key in service.get("environment", {}):
            assert not re.search(r"TOKEN|PASSWORD|SECRET|KEY", key) or key.endswith("_FILE"), key


# -- the image ------------------------------------------------------------------------------------------


def test_the_lock_s_part_for_work_has_all_that_is_asked_for_and_nothing_for_tests():
    lock = (ROOT / "requirements.lock").read_text()
    blocks = runtime.needed(lock, {"faust-streaming", "implicit"})
    names = [block.partition("==")[0] for block in blocks]
    assert {"faust-streaming", "aiokafka", "mode-streaming", "implicit", "numpy", "scipy"} <= set(names)
    assert not {"pytest", "mypy", "pandas", "dvc"} & set(names)
    assert all("--hash=sha256:" in block for block in blocks)


# -- dashboards -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", dashboards.DASHBOARDS)
def test_a_dashboard_is_as_its_code_says(name):
    assert (COMPOSE / "grafana" / "dashboards" / name).read_text() == dashboards.text(name), (
        "python compose/grafana/dashboards.py"
    )


@pytest.mark.parametrize(("board", "panel"), PANELS, ids=lambda part: part if isinstance(part, str) else part["title"])
def test_a_panel_asks_the_provisioned_prometheus_and_says_what_it_shows(board, panel):
    source = yaml.safe_load((COMPOSE / "grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"][0]
    assert {target["datasource"]["uid"] for target in panel["targets"]} == {source["uid"]}
    assert len(panel["description"]) > 10


@pytest.mark.parametrize("name", dashboards.DASHBOARDS)
def test_no_panel_covers_another(name):
    taken = set()
    for panel in dashboards.DASHBOARDS[name]["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken
        taken |= cells


def test_the_split_is_an_annotation_everywhere():
    for board in dashboards.DASHBOARDS.values():
        assert [note["expr"] for note in board["annotations"]["list"]] == [dashboards.SPLIT]


def test_the_thresholds_of_fairness_are_those_of_the_configuration():
    from models.config import Metrics

    ratio = next(panel for name, panel in PANELS if name == "loops.json" and "men" in panel["title"])
    drawn = {target["expr"] for target in ratio["targets"]}
    assert {f"vector({Metrics().ratio_min})", f"vector({Metrics().ratio_max})"} <= drawn


# -- alerts ---------------------------------------------------------------------------------------------


def sections():
    text = (ROOT / "docs" / "runbook.md").read_text()
    return dict(pairwise_sections(re.split(r"^## (.+)$", text, flags=re.MULTILINE)[1:]))


def pairwise_sections(parts):
    return [(title, body.strip()) for title, body in list(pairwise(parts))[::2]]


def test_every_alert_has_its_section_and_every_section_its_alert(alerts):
    assert list(sections()) == ["Objectives", *alerts]
    assert all(sections().values())


def test_an_alert_names_its_section_and_how_loud_it_is(alerts):
    for name, rule in alerts.items():
        assert rule["annotations"]["runbook"] == f"docs/runbook.md#{name.lower()}"
        assert rule["labels"]["severity"] in ("page", "ticket")


def test_amtool_finds_nothing_wrong_with_alertmanager_s_configuration(amtool):
    told = amtool("check-config", COMPOSE / "alertmanager" / "alertmanager.yml")
    assert told.returncode == 0, told.stdout + told.stderr


@pytest.mark.parametrize("severity", ["page", "ticket"])
def test_a_severity_reaches_its_receiver(amtool, severity):
    configuration = COMPOSE / "alertmanager" / "alertmanager.yml"
    told = amtool("config", "routes", "test", f"--config.file={configuration}", f"severity={severity}")
    assert told.stdout.strip() == severity


def test_what_is_silenced_by_another_alert_exists(alerts):
    rules = yaml.safe_load((COMPOSE / "alertmanager" / "alertmanager.yml").read_text())["inhibit_rules"]
    for matcher in (matcher for rule in rules for side in rule.values() for matcher in side if "=" in matcher):
        pattern = matcher.partition("=")[2].strip("~ ").strip('"')
        assert all(any(re.fullmatch(part, name) for name in alerts) for part in pattern.split("|")), matcher


def test_dashboards_are_json():
    for name in dashboards.DASHBOARDS:
        assert json.loads(dashboards.text(name))["schemaVersion"] >= 39
