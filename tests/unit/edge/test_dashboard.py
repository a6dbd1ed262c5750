"""Dashboard and alert rules name metrics that ``/metrics`` has, and labels that these have."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.support.edge import TestServer

INFRA = Path(__file__).parents[3] / "infra"
NAME = re.compile(r"\b((?:cogflare|process)_\w+)(?:\{([^}]*)\})?")
MATCH = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
FROM_PROMETHEUS = {"job", "instance"}


def dashboard_expressions() -> Iterator[str]:
    dashboard = json.loads((INFRA / "grafana/dashboard.json").read_text("utf-8"))
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["definition"]


def alert_rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((INFRA / "prometheus/alerts.yml").read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.fixture
async def labels(server: TestServer) -> dict[str, dict[str, set[str]]]:
    """Of each sample's name the labels, with the values that were seen."""
    await server.run(["hi"], started_at=1, completed_at=2)
    await server.http.get("/v1/predictions/nothing")
    found: dict[str, dict[str, set[str]]] = {}
    for family in text_string_to_metric_families((await server.http.get("/metrics")).text):
        for sample in family.samples:
            known = found.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                known.setdefault(label, set()).add(value)
    return found


def wrong(expression: str, labels: dict[str, dict[str, set[str]]]) -> Iterator[str]:
    named = NAME.findall(expression)
    if not named:
        yield f"no metric in {expression}"
    for name, selector in named:
        if name not in labels:
            yield f"no metric {name} in {expression}"
            continue
        for label, _, _ in MATCH.findall(selector):
            if label not in labels[name] and label not in FROM_PROMETHEUS:
                yield f"{name} has no label {label} in {expression}"
    for group in re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", expression):
        known = set().union(*(labels.get(name, {}) for name, _ in named))
        for label in (part.strip() for part in group.split(",")):
            if label not in known:
                yield f"nothing has the label {label} of {expression}"


async def test_the_dashboard_shows_metrics_that_there_are(labels: dict[str, dict[str, set[str]]]) -> None:
    expressions = list(dashboard_expressions())
    assert len(expressions) > 20
    assert not [text for expression in expressions for text in wrong(expression, labels)]


async def test_alerts_are_about_metrics_that_there_are(labels: dict[str, dict[str, set[str]]]) -> None:
    rules = alert_rules()
    assert len(rules) > 10
    assert not [text for rule in rules for text in wrong(rule["expr"], labels)]
    assert all(rule["annotations"]["summary"] and rule["labels"]["severity"] for rule in rules)


async def test_every_metric_of_ours_is_in_the_dashboard_or_about_the_server_itself(
    labels: dict[str, dict[str, set[str]]],
) -> None:
    shown = " ".join((*dashboard_expressions(), *(rule["expr"] for rule in alert_rules())))
    ours = {re.sub(r"_(bucket|sum|count)$", "", name) for name in labels if name.startswith("cogflare_")}
    assert {name for name in ours if name not in shown} <= {"cogflare_build_info"}


@pytest.mark.parametrize(
    "expression",
    ["cogflare_nothing > 1", 'cogflare_queue_depth{colour="red"}', "sum by (colour) (cogflare_ready)"],
)
async def test_what_is_wrong_is_found(expression: str, labels: dict[str, dict[str, set[str]]]) -> None:
    assert list(wrong(expression, labels))
