"""The manifest for Kubernetes: right by the schemas, and as closed and as pinned as it says."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import kubernetes_validate
import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field

from streamcam.version import __version__

FOLDER = Path(__file__).resolve().parents[2] / "configs" / "kubernetes"
TEXT = (FOLDER / "streamcam.yaml").read_text(encoding="utf-8")
KUBERNETES = "1.33"


class _Loader(yaml.SafeLoader):
    """Refuses a key that comes twice, of which YAML takes the last one silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        if twice := {key for key in keys if keys.count(key) > 1}:
            raise yaml.constructor.ConstructorError(None, None, f"{twice} twice", node.start_mark)
        return super().construct_mapping(node, deep)


DOCUMENTS: list[dict[str, Any]] = list(yaml.load_all(TEXT, _Loader))


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Auth(_Strict):
    mode: Literal["disabled", "token"]


class _Autoscaler(_Strict):
    version: Literal["v1", "v2"]
    upscalingMode: Literal["Default", "Aggressive", "Conservative"]
    idleTimeoutSeconds: int
    resources: dict[str, dict[str, str]]


class _FaultTolerance(_Strict):
    redisAddress: str
    redisPassword: dict[Literal["valueFrom"], dict[Literal["secretKeyRef"], dict[str, str]]]


class _Group(_Strict):
    rayStartParams: dict[str, str]
    template: dict[str, Any]


class _Head(_Group):
    serviceType: Literal["ClusterIP"]


class _Workers(_Group):
    groupName: str
    minReplicas: int = Field(ge=0)
    replicas: int
    maxReplicas: int


class _Cluster(_Strict):
    """The fields of ray.io/v1 (KubeRay 1.6) that the manifest uses; pods are checked apart."""

    rayVersion: str
    authOptions: _Auth
    enableInTreeAutoscaling: bool
    autoscalerOptions: _Autoscaler
    gcsFaultToleranceOptions: _FaultTolerance
    headGroupSpec: _Head
    workerGroupSpecs: list[_Workers]


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [document for document in DOCUMENTS if document["kind"] == kind]


@pytest.fixture(scope="module")
def cluster() -> _Cluster:
    (only,) = of_kind("RayCluster")
    assert only["apiVersion"] == "ray.io/v1"
    return _Cluster.model_validate(only["spec"])


def groups(cluster: _Cluster) -> Iterator[_Group]:
    yield cluster.headGroupSpec
    yield from cluster.workerGroupSpecs


def validate(document: dict[str, Any]) -> None:
    kubernetes_validate.validate(document, KUBERNETES, strict=True)


def test_no_object_and_no_key_comes_twice() -> None:
    names = [(document["kind"], document["metadata"]["name"]) for document in DOCUMENTS]
    assert len(set(names)) == len(names) == len(re.findall(r"^kind:", TEXT, re.MULTILINE))
    with pytest.raises(yaml.YAMLError, match="twice"):
        yaml.load("a: {b: 1, b: 2}", _Loader)


@pytest.mark.parametrize(
    "document",
    [document for document in DOCUMENTS if document["kind"] != "RayCluster"],
    ids=lambda document: f"{document['kind']}-{document['metadata']['name']}",
)
def test_each_object_is_right_by_the_schema_of_kubernetes(document: dict[str, Any]) -> None:
    validate(document)


def test_the_schema_knows_a_field_that_is_misspelt() -> None:
    (policy,) = (d for d in of_kind("PodDisruptionBudget") if d["metadata"]["name"] == "head")
    with pytest.raises(kubernetes_validate.ValidationError):
        validate(policy | {"spec": policy["spec"] | {"minAvailabel": 1}})


def test_the_pods_of_ray_are_right_by_the_schema_of_kubernetes(cluster: _Cluster) -> None:
    for group in groups(cluster):
        template = {"apiVersion": "v1", "kind": "PodTemplate", "template": group.template}
        validate(template | {"metadata": {"name": "any"}})


def test_gpus_are_for_workers_alone_and_their_number_has_bounds(cluster: _Cluster) -> None:
    gpus = [
        group.template["spec"]["containers"][0]["resources"]["limits"].get("nvidia.com/gpu")
        for group in groups(cluster)
    ]
    assert gpus[0] is None
    assert all(gpus[1:])
    assert cluster.headGroupSpec.rayStartParams["num-cpus"] == "0"
    for group in cluster.workerGroupSpecs:
        assert group.minReplicas <= group.replicas <= group.maxReplicas


def test_performers_reach_one_port_of_the_head_and_udp_of_workers() -> None:
    opened = {}
    for policy in of_kind("NetworkPolicy"):
        for rule in policy["spec"].get("ingress", []):
            if any("ipBlock" in source for source in rule["from"]):
                labels = policy["spec"]["podSelector"]["matchLabels"]
                opened[labels["ray.io/node-type"]] = [
                    (port["protocol"], port["port"], port.get("endPort")) for port in rule["ports"]
                ]
    assert opened == {"head": [("TCP", 10001, None)], "worker": [("UDP", 32768, 60999)]}
    (closed,) = (p for p in of_kind("NetworkPolicy") if "ingress" not in p["spec"])
    assert closed["spec"] == {"podSelector": {}, "policyTypes": ["Ingress"]}


def test_no_pod_is_on_the_network_of_its_node_where_no_policy_holds(cluster: _Cluster) -> None:
    assert not any("hostNetwork" in group.template["spec"] for group in groups(cluster))


def test_versions_are_the_same_everywhere(cluster: _Cluster) -> None:
    dockerfile = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
    ray = set(re.findall(r"ray:(\d[\d.]+\d)-|ray\[client\]==([\d.]+)\"", dockerfile))
    assert {version for pair in ray for version in pair if version} == {cluster.rayVersion}
    assert f"ARG STREAMCAM={__version__}\n" in dockerfile
    images = {g.template["spec"]["containers"][0]["image"].split(":")[1] for g in groups(cluster)}
    assert images == {__version__}


def test_no_secret_has_its_value_in_the_file() -> None:
    assert not of_kind("Secret")
    assert not re.search(r"(password|token):\s+\S", TEXT.replace("mode: token", ""))
