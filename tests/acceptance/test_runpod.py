"""infra/runpod: what is sent to RunPod says what its API takes, and what the agent takes."""

import json
import re

from edge.options import build, options_of
from gpu_agent.settings import AgentSettings
from tests.support.commands import REPOSITORY

POD = json.loads((REPOSITORY / "infra" / "runpod" / "pod.json").read_text("utf-8"))
PAGE = (REPOSITORY / "docs" / "how-to" / "runpod.md").read_text("utf-8")
TAKEN = {
    "cloudType": str,
    "computeType": str,
    "containerDiskInGb": int,
    "env": dict,
    "gpuCount": int,
    "gpuTypeIds": list,
    "imageName": str,
    "interruptible": bool,
    "name": str,
    "ports": list,
    "volumeInGb": int,
    "volumeMountPath": str,
}
"""Of the reference of POST /pods, as published by RunPod: the members that we use."""
RECLAIM_S = 5.0
"""Between SIGTERM and SIGKILL of a spot pod, by RunPod's FAQ."""


def test_the_pod_has_the_members_that_runpod_documents() -> None:
    assert {name: type(value) for name, value in POD.items()} == TAKEN
    assert all(isinstance(value, str) for value in POD["env"].values())


def test_the_agent_takes_its_variables_and_leaves_before_it_is_killed() -> None:
    assert set(POD["env"]) <= {option.environment for option in options_of(AgentSettings)}
    settings = build(AgentSettings, {}, POD["env"])
    assert settings.drain_s < RECLAIM_S
    assert settings.model_dirs()


def test_the_token_is_a_secret_of_runpod_and_nothing_listens() -> None:
    secret = re.fullmatch(r"\{\{ RUNPOD_SECRET_(\w+) \}\}", POD["env"]["COGFLARE_TOKEN"])
    assert secret is not None
    assert f"`{secret[1]}`" in PAGE
    assert POD["ports"] == []
