"""The manifests of deploy/kubernetes, without a cluster: what they name exists, and the processes start with it."""

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from delivery import settings as delivery_settings
from relay_edge.settings import EdgeSettings

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "deploy" / "kubernetes"
BASE, EXAMPLE = FOLDER / "base", FOLDER / "overlays" / "example"
PODS = ("Deployment", "Job")
DOCUMENTED = set(re.findall(r"^([A-Z][A-Z0-9_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
KILLED_AFTER_SECONDS = 15
"""How long an edge's parent waits for its processes beyond RELAY_SHUTDOWN_SECONDS: relay_edge/__main__.py."""
COMPONENT = "app.kubernetes.io/component"
Document = dict[str, Any]


def documents(folder: Path) -> list[Document]:
    """What the kustomization of a folder lists, in order."""
    listed = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
    return [
        each for name in listed if name.endswith(".yaml") for each in yaml.safe_load_all((folder / name).read_text())
    ]


EVERYTHING = documents(BASE)
WORKLOADS = {each["metadata"]["name"]: each for each in EVERYTHING if each["kind"] in PODS}


def of(kind: str) -> list[Document]:
    return [each for each in EVERYTHING if each["kind"] == kind]


def pod(name: str) -> Document:
    return WORKLOADS[name]["spec"]["template"]["spec"]


def container(name: str) -> Document:
    [only] = pod(name)["containers"]
    return only


def config() -> dict[str, str]:
    [only] = of("ConfigMap")
    return only["data"]


def secrets_of(name: str) -> dict[str, bool]:
    """Variables that are read from the Secret, and whether the pod starts without them."""
    return {
        each["name"]: each["valueFrom"]["secretKeyRef"].get("optional", False)
        for each in container(name)["env"]
        if "valueFrom" in each
    }


def environment(name: str) -> dict[str, str]:
    """What the process is started with, where nothing optional is in the Secret."""
    given = {
        "DATABASE_URL": "postgresql://relay:x@postgres/relay",
        "RELAY_EDGE_DATABASE_URL": "postgresql://relay_edge:x@postgres/relay",
        "REDIS_URL": "redis://valkey:6379/0",
        "RELAY_MASTER_KEY": base64.b64encode(bytes(32)).decode(),
        "RELAY_SECRET_KEY": "x",
    }
    from_secret = {key: given[key] for key, is_optional in secrets_of(name).items() if not is_optional and key in given}
    plain = {each["name"]: each["value"] for each in container(name)["env"] if "value" in each}
    return config() | from_secret | plain


def test_every_file_is_listed_and_parses() -> None:
    for folder in (BASE, EXAMPLE):
        kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
        patches = {patch["path"] for patch in kustomization.get("patches", ())}
        listed = {name for name in kustomization["resources"] if name.endswith(".yaml")} | patches
        assert listed == {path.name for path in folder.iterdir()} - {"kustomization.yaml"}
    names = [(each["kind"], each["metadata"]["name"]) for each in EVERYTHING]
    assert len(names) == len(set(names))
    assert set(WORKLOADS) == {
        "relay-migrate", "relay-control", "relay-edge", "relay-worker", "relay-worker-sync", "relay-schedule",
    }  # fmt: skip


@pytest.mark.parametrize("name", WORKLOADS)
def test_nobody_has_more_rights_than_they_need(name: str) -> None:
    spec, only = pod(name), container(name)
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert f"--uid {spec['securityContext']['runAsUser']} " in (ROOT / "Dockerfile").read_text()
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert only["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    assert {mount["name"] for mount in only["volumeMounts"]} == {volume["name"] for volume in spec["volumes"]}
    assert only["resources"]["limits"]["memory"]
    assert only["resources"]["requests"]["cpu"]


@pytest.mark.parametrize("name", WORKLOADS)
def test_variables_are_those_of_env_example(name: str) -> None:
    only = container(name)
    assert only["envFrom"] == [{"configMapRef": {"name": "relay-config"}}]
    names = [each["name"] for each in only["env"]]
    assert len(names) == len(set(names))
    assert set(names) | set(config()) <= DOCUMENTED
    for each in only["env"]:
        if "valueFrom" in each:
            reference = each["valueFrom"]["secretKeyRef"]
            assert (reference["name"], reference["key"]) == ("relay-secrets", each["name"])
    example = yaml.safe_load((EXAMPLE / "config.yaml").read_text())["data"]
    assert set(example) <= DOCUMENTED


def test_no_secret_has_a_value() -> None:
    assert of("Secret") == []
    secret = {key for name in WORKLOADS for key in secrets_of(name)}
    plain = {each["name"] for name in WORKLOADS for each in container(name)["env"] if "value" in each}
    assert secret & (plain | set(config())) == set()


def test_edges_and_workers_start_with_what_they_are_given() -> None:
    edge = EdgeSettings.read(environment("relay-edge"))
    ports = container("relay-edge")["ports"]
    assert [port["containerPort"] for port in ports] == [edge.port]
    assert edge.bind == "0.0.0.0"
    mounts = [mount["mountPath"] for mount in container("relay-edge")["volumeMounts"]]
    assert str(edge.spill_folder.parent) in mounts
    for name, lanes in (("relay-worker", {"async"}), ("relay-worker-sync", {"sync"})):
        worker = delivery_settings.read(environment(name))
        assert worker.lanes == lanes
        for kind in ("livenessProbe", "readinessProbe"):
            [probe] = [text for text in container(name)[kind]["exec"]["command"] if "http" in text]
            assert f"127.0.0.1:{worker.metrics_port}/metrics" in probe
    delivery_settings.read(environment("relay-schedule"))


def test_edges_have_neither_the_owners_database_nor_djangos_key() -> None:
    assert {"DATABASE_URL", "RELAY_SECRET_KEY"} & set(secrets_of("relay-edge")) == set()
    required = {"DATABASE_URL", "REDIS_URL", "RELAY_MASTER_KEY", "RELAY_SECRET_KEY"}  # relay_admin/settings.py
    for name in set(WORKLOADS) - {"relay-edge"}:
        assert required <= {key for key, is_optional in secrets_of(name).items() if not is_optional}


def test_who_ends_has_the_time_that_its_work_gets() -> None:
    edge = EdgeSettings.read(environment("relay-edge"))
    *_, seconds = container("relay-edge")["lifecycle"]["preStop"]["exec"]["command"]
    needed = int(seconds) + edge.shutdown_seconds + KILLED_AFTER_SECONDS
    assert f"settings.shutdown_seconds + {KILLED_AFTER_SECONDS}" in (ROOT / "relay_edge" / "__main__.py").read_text()
    assert pod("relay-edge")["terminationGracePeriodSeconds"] > needed
    for name in ("relay-worker", "relay-worker-sync"):
        worker = delivery_settings.read(environment(name))
        assert pod(name)["terminationGracePeriodSeconds"] >= worker.grace_seconds + 30


def test_selectors_find_their_pods() -> None:
    for name, workload in WORKLOADS.items():
        labels = workload["spec"]["template"]["metadata"]["labels"]
        assert name == f"relay-{labels[COMPONENT]}"
        if workload["kind"] == "Deployment":
            assert workload["spec"]["selector"]["matchLabels"] == labels
        for spread in pod(name).get("topologySpreadConstraints", ()):
            assert spread["labelSelector"]["matchLabels"] == labels
    components = {each["spec"]["template"]["metadata"]["labels"][COMPONENT] for each in WORKLOADS.values()}
    for budget in of("PodDisruptionBudget"):
        assert budget["spec"]["selector"]["matchLabels"][COMPONENT] in components
    for scaler in of("HorizontalPodAutoscaler"):
        scaled = WORKLOADS[scaler["spec"]["scaleTargetRef"]["name"]]
        assert "replicas" not in scaled["spec"]  # each `apply` would undo the autoscaler
        assert container(scaled["metadata"]["name"])["resources"]["requests"]["cpu"]
    everybody, *some = of("NetworkPolicy")
    [pair] = yaml.safe_load((BASE / "kustomization.yaml").read_text())["labels"]
    assert everybody["spec"]["podSelector"]["matchLabels"] == pair["pairs"]
    for policy in some:
        name = f"relay-{policy['spec']['podSelector']['matchLabels'][COMPONENT]}"
        ports = [port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]]
        assert ports == [port["containerPort"] for port in container(name)["ports"]]


def test_services_and_ingress_lead_to_ports_that_are_open() -> None:
    services = {each["metadata"]["name"]: each for each in of("Service")}
    for service in services.values():
        target = container(f"relay-{service['spec']['selector'][COMPONENT]}")
        for port in service["spec"]["ports"]:
            assert {"name": port["targetPort"], "containerPort": port["port"]} in target["ports"]
    inside = re.fullmatch(r"http://(.+):(\d+)", config()["RELAY_EDGE_INTERNAL_URL"])
    assert inside is not None
    assert int(inside[2]) in [port["port"] for port in services[inside[1]]["spec"]["ports"]]
    [ingress] = documents(EXAMPLE)
    example = yaml.safe_load((EXAMPLE / "config.yaml").read_text())["data"]
    for rule in ingress["spec"]["rules"]:
        for path in rule["http"]["paths"]:
            backend = path["backend"]["service"]
            assert backend["port"]["name"] in [port["name"] for port in services[backend["name"]]["spec"]["ports"]]
        assert f"https://{rule['host']}" in (example["RELAY_CONTROL_URL"], example["RELAY_EDGE_URL"])
        assert rule["host"] in ingress["spec"]["tls"][0]["hosts"]


def test_the_migration_can_be_applied_first() -> None:
    """With everything that it names."""
    first = {each["kind"] for each in EVERYTHING if each["metadata"].get("labels", {}).get("step") == "migrate"}
    assert first == {"ServiceAccount", "ConfigMap", "Job"}


def probes() -> Iterator[tuple[str, str]]:
    for name in WORKLOADS:
        for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
            probe = container(name).get(kind, {})
            if "httpGet" in probe:
                assert probe["httpGet"]["port"] in [port["name"] for port in container(name)["ports"]]
                yield name, probe["httpGet"]["path"]


def test_probes_ask_for_what_is_answered() -> None:
    health = (ROOT / "relay_edge" / "health.py").read_text()
    urls = (ROOT / "relay_admin" / "urls.py").read_text()
    asked = set(probes())
    assert {name for name, _path in asked} == {"relay-edge", "relay-control"}
    for name, path in asked:
        assert f'"{path}"' in health if name == "relay-edge" else f'"{path.removeprefix("/")}"' in urls


def test_the_image_is_named_once() -> None:
    assert {container(name)["image"] for name in WORKLOADS} == {"relay"}
    [image] = yaml.safe_load((EXAMPLE / "kustomization.yaml").read_text())["images"]
    assert image["name"] == "relay"
    assert image["newTag"] != "latest"


def test_commands_are_those_of_compose() -> None:
    """But for what differs on purpose: uvicorn's end, and the level that a worker logs at by its variable."""
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    for component, service in (("migrate", "migrate"), ("control", "control"), ("edge", "edge"), ("worker", "worker"),
                               ("worker-sync", "worker-sync"), ("schedule", "schedule")):  # fmt: skip
        ours, theirs = container(f"relay-{component}")["command"], services[service]["command"]
        assert ours[: len(theirs) - 2] == theirs[: len(theirs) - 2]
