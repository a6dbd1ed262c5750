"""Puts the originals through the scenarios that ours passes, and writes down where they differ.

    .venv/bin/python benchmarks/cog_scenarios.py --write docs/reference/cog-server.md

Each original is installed from the package index when it is not there yet.
"""

import argparse
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cog_originals import PACKAGES, ROOT, installed
from report import write_into

SCENARIOS = ROOT / "tests" / "cog_server" / "scenarios"
OURS = "ours"
BEGIN, END = "<!-- made by benchmarks/cog_scenarios.py -->", "<!-- end of the comparison -->"


@dataclass(frozen=True)
class Outcome:
    """What one server made of one scenario."""

    scenario: str
    passed: bool


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", choices=PACKAGES, help="just this original")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table between the marks of FILE")
    options = parser.parse_args()
    found = {OURS: _run("")}
    for version in options.only or PACKAGES:
        found[version] = _run(str(installed(version)))
    text = table(found)
    print(text)
    if options.write:
        write_into(options.write, f"\n{text}\n", BEGIN, END)
    return 0 if all(each.passed for each in found[OURS]) else 1


def _run(original: str) -> list[Outcome]:
    """Every scenario against one server."""
    name = Path(original).name or OURS
    print(f"running the scenarios against {name}", file=sys.stderr, flush=True)
    report = ROOT / "build" / f"scenarios-{name}.xml"
    report.parent.mkdir(exist_ok=True)
    # What a server leaves open when a scenario goes wrong there is not a matter of the next scenario.
    command = [sys.executable, "-m", "pytest", str(SCENARIOS), f"--junitxml={report}", "-W", "default"]
    environment = {**os.environ, "COG_SERVER_UNDER_TEST": original}
    subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, check=False)
    return [_outcome(case) for case in ET.parse(report).getroot().iter("testcase")]


def _outcome(case: ET.Element) -> Outcome:
    scenario = f"{case.attrib['classname'].rpartition('.')[2]}::{case.attrib['name']}"
    bad = [each for each in case if each.tag in ("failure", "error")]
    # How a server ends is not what the scenario is about.
    return Outcome(scenario, all("on teardown" in each.attrib.get("message", "") for each in bad))


def table(found: Mapping[str, Iterable[Outcome]]) -> str:
    """Markdown: how many scenarios each passed, and line by line those that not all passed."""
    passed = {server: {each.scenario: each.passed for each in outcomes} for server, outcomes in found.items()}
    scenarios = list(passed[OURS])
    counts = [f"{sum(passed[server].get(name, False) for name in scenarios)}" for server in found]
    shared = [name for name in scenarios if all(passed[server].get(name) for server in found)]
    rows = [
        [_title(name), *("yes" if passed[server].get(name) else "no" for server in found)]
        for name in scenarios
        if name not in shared
    ]
    lines = [
        ["scenario", *found],
        ["---"] * (len(found) + 1),
        [f"all {len(scenarios)}", *counts],
        *rows,
    ]
    listed = "; ".join(map(_title, shared))
    return (
        "\n".join("| " + " | ".join(line) + " |" for line in lines)
        + f"\n\nAll {len(shared)} others hold for each of them: {listed}."
    )


def _title(name: str) -> str:
    file, _, test = name.partition("::")
    test, bracket, parameters = test.removeprefix("test_").partition("[")
    example = f" (`{bracket and parameters[:-1]}`)" if bracket else ""
    return f"{file.removeprefix('test_')}: {test.replace('_', ' ')}{example}".replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
