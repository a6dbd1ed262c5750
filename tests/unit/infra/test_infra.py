"""infra/: what tools that run here say of each file, and that it speaks of options which exist.

systemd units and the model's image have tests of their own, which run them (tests/acceptance).
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import hcl2
import jsonschema
import kubernetes_validate
import pytest
import yaml

from coordinator.protocol.limits import ServerLimits
from edge.options import options_of
from edge.settings import ServeSettings
from gpu_agent.settings import AgentSettings
from tests.support.caddy import CADDY, needs_caddy
from tests.support.commands import REPOSITORY
from tests.support.dockerfile import instructions
from tests.support.unit_file import Unit

INFRA = REPOSITORY / "infra"
COMPOSE, KUBERNETES, TERRAFORM = INFRA / "compose", INFRA / "kubernetes", INFRA / "terraform"
DOCKERFILES = sorted(INFRA.glob("*/Dockerfile"))
SCHEMA = REPOSITORY / "build" / "compose" / "compose" / "config" / "compose_spec.json"
"""Of the last Docker Compose that is on the package index, 1.29."""
NOT_RUN = [
    *(path for path in DOCKERFILES if path.parent.name != "model-image"),
    COMPOSE / "compose.yaml",
    *sorted(KUBERNETES.iterdir()),
    *sorted(TERRAFORM.iterdir()),
]
SERVER = {option.environment for option in options_of(ServeSettings)}
AGENT = {option.environment for option in options_of(AgentSettings)}


def ours(names: Any) -> set[str]:
    return {name for name in names if name.startswith("COGFLARE_")}


@pytest.mark.parametrize("path", NOT_RUN, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_could_not_be_run_says_so_first(path: Path) -> None:
    lines = path.read_text("utf-8").splitlines()
    first = lines[1] if lines[0] == "#cloud-config" else lines[0]
    assert first.startswith("# Not run here: ")


# --- images -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.parent.name)
def test_hadolint_has_nothing_to_say(path: Path) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, path], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(("name", "known"), [("server-image", SERVER), ("agent-image", AGENT)])
def test_images_set_options_that_exist_and_run_what_is_installed(name: str, known: set[str]) -> None:
    steps = list(instructions(INFRA / name / "Dockerfile"))
    words = [word for step in steps if step.word == "ENV" for word in re.findall(r"\w+(?==)", step.rest)]
    assert ours(words)
    assert ours(words) <= known
    command = json.loads(next(step.rest for step in steps if step.word == "CMD"))
    assert command == ["cogflare", {"server-image": "serve", "agent-image": "agent"}[name]]
    ignored = (INFRA / name / "Dockerfile.dockerignore").read_text("utf-8")
    assert ignored == (INFRA / "model-image" / "Dockerfile.dockerignore").read_text("utf-8")


# --- compose ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((COMPOSE / "compose.yaml").read_text("utf-8")))


def test_compose_is_as_its_schema_says(compose: dict[str, Any]) -> None:
    known = json.loads(json.dumps(compose))
    # Newer than the schema: a project's name, and a configuration's text in the file itself (Compose 2.23).
    assert known.pop("name")
    assert known["configs"]["s3"].pop("content")
    known["configs"]["s3"]["file"] = "s3.json"
    schema = jsonschema.Draft201909Validator(json.loads(SCHEMA.read_text("utf-8")))
    schema.validate(known)
    known["services"]["cogflare"]["restrat"] = "always"
    with pytest.raises(jsonschema.ValidationError):
        schema.validate(known)


def test_compose_sets_options_that_exist_and_asks_only_for_what_the_example_has(
    compose: dict[str, Any],
) -> None:
    services = compose["services"]
    assert ours(services["cogflare"]["environment"]) <= SERVER
    assert ours(services["agent"]["environment"]) <= AGENT
    text = (COMPOSE / "compose.yaml").read_text("utf-8")
    example = (COMPOSE / "env.example").read_text("utf-8")
    assert set(re.findall(r"\$\{(\w+)", text)) == set(re.findall(r"^(\w+)=", example, re.MULTILINE))
    sites = set(re.findall(r"\{\$(\w+)\}", (COMPOSE / "Caddyfile").read_text("utf-8")))
    assert sites == set(services["caddy"]["environment"])
    address = services["caddy"]["networks"]["default"]["ipv4_address"]
    assert services["cogflare"]["environment"]["COGFLARE_TRUSTED_PROXY"] == f"{address}/32"


def test_compose_mounts_what_there_is_and_waits_longer_than_they_need(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for service in services.values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert source in compose["volumes"] or source.startswith("${") or (COMPOSE / source).is_file()
        if build := service.get("build"):
            assert (COMPOSE / build["context"] / build["dockerfile"]).is_file()
    assert seconds(services["cogflare"]["stop_grace_period"]) > ServerLimits().drain_s
    assert (
        seconds(services["agent"]["stop_grace_period"])
        > AgentSettings.__dataclass_fields__["drain_s"].default
    )


def test_the_stores_configuration_is_json_once_it_is_filled_in(compose: dict[str, Any]) -> None:
    text = re.sub(r"\$\{\w+\}", "x", compose["configs"]["s3"]["content"])
    (identity,) = json.loads(text)["identities"]
    assert identity["credentials"] == [{"accessKey": "x", "secretKey": "x"}]


@needs_caddy
def test_caddy_takes_its_file() -> None:
    names = re.findall(r"\{\$(\w+)\}", (COMPOSE / "Caddyfile").read_text("utf-8"))
    environment = {name: f"cog.example.org:{443 + place}" for place, name in enumerate(names)}
    command = [CADDY, "validate", "--adapter", "caddyfile", "--config", COMPOSE / "Caddyfile"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
    assert "Valid configuration" in done.stdout + done.stderr


def seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+)(m|s)", text)
    assert found is not None
    return int(found[1]) * {"m": 60, "s": 1}[found[2]]


# --- kubernetes ---------------------------------------------------------------------------------------------


def manifests() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(KUBERNETES.glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text("utf-8")):
            yield f"{path.stem}-{document['kind']}", document


MANIFESTS = dict(manifests())


@pytest.mark.parametrize("name", MANIFESTS)
def test_kubernetes_takes_the_manifest(name: str) -> None:
    kubernetes_validate.validate(MANIFESTS[name], "1.31", strict=True)


def test_a_mistyped_field_would_be_seen() -> None:
    wrong = json.loads(json.dumps(MANIFESTS["server-Service"]))
    wrong["spec"]["ports"][0]["targetport"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.31", strict=True)


@pytest.mark.parametrize(("name", "known"), [("server", SERVER), ("agent", AGENT)])
def test_kubernetes_sets_options_that_exist_and_waits_long_enough(name: str, known: set[str]) -> None:
    pod = MANIFESTS[f"{name}-StatefulSet"]["spec"]["template"]["spec"]
    assert pod["enableServiceLinks"] is False, "a Service called cogflare makes COGFLARE_PORT=tcp://…"
    (container,) = pod["containers"]
    configured = MANIFESTS.get(f"{name}-ConfigMap", {"data": {}})["data"]
    set_here = ours([*configured, *(each["name"] for each in container["env"])])
    assert set_here
    assert set_here <= known
    drain_s = {
        "server": ServerLimits().drain_s,
        "agent": AgentSettings.__dataclass_fields__["drain_s"].default,
    }
    assert pod["terminationGracePeriodSeconds"] > drain_s[name]
    claims = MANIFESTS[f"{name}-StatefulSet"]["spec"]["volumeClaimTemplates"]
    volumes = {each["metadata"]["name"] for each in claims} | {each["name"] for each in pod["volumes"]}
    assert {each["name"] for each in container["volumeMounts"]} == volumes


# --- terraform ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def terraform() -> Mapping[str, Any]:
    found: dict[str, list[Any]] = {}
    for path in sorted(TERRAFORM.glob("*.tf")):
        for kind, blocks in hcl2.loads(path.read_text("utf-8")).items():
            found.setdefault(kind, []).extend(blocks if isinstance(blocks, list) else [blocks])
    return found


def test_terraform_names_only_what_is_declared(terraform: Mapping[str, Any]) -> None:
    text = "\n".join(path.read_text("utf-8") for path in sorted(TERRAFORM.glob("*.tf")))
    variables = {name.strip('"') for block in terraform["variable"] for name in block}
    assert set(re.findall(r"\bvar\.(\w+)", text)) == variables
    resources = {
        (kind.strip('"'), name.strip('"'))
        for block in terraform["resource"]
        for kind, named in block.items()
        for name in named
    }
    assert len(resources) == 11
    used = set(re.findall(r"(?<!data\.)\b(aws_\w+)\.(\w+)\.\w+", text))
    assert used
    assert used <= resources
    assert set(re.findall(r"\bdata\.(aws_\w+\.\w+)\.", text)) == {
        "aws_ssm_parameter.debian",
        "aws_vpc.default",
    }


def test_the_machines_first_start_is_yaml_with_the_values_that_it_is_given() -> None:
    main = (TERRAFORM / "main.tf").read_text("utf-8")
    template = (TERRAFORM / "cloud-init.yaml").read_text("utf-8")
    given = re.search(r"templatefile\(.*?, \{(.*?)\}\)", main, re.DOTALL)
    assert given is not None
    names = set(re.findall(r"^\s*(\w+)\s*=", given[1], re.MULTILINE))
    assert set(re.findall(r"\$\{(\w+)\}", template)) == names
    filled = yaml.safe_load(re.sub(r"\$\{(\w+)\}", r"value-of-\1", template))
    files = {each["path"]: each["content"] for each in filled["write_files"]}
    assert ours(re.findall(r"^(\w+)=", files["/etc/cogflare/server.env"], re.MULTILINE)) <= SERVER


def test_the_machines_unit_is_a_part_of_the_one_in_systemd(tmp_path: Path) -> None:
    filled = yaml.safe_load(re.sub(r"\$\{\w+\}", "x", (TERRAFORM / "cloud-init.yaml").read_text("utf-8")))
    path = tmp_path / "cogflare.service"
    path.write_text(next(f["content"] for f in filled["write_files"] if f["path"].endswith(".service")))
    whole = Unit.read(INFRA / "systemd" / "cogflare.service")
    own = set(Unit.read(path).settings) - set(whole.settings)
    assert {name for _, name, _ in own} == {"RequiresMountsFor"}
