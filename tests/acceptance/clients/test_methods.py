"""Each method of the official clients, unmodified, against a real server with real agents.

A case is carried out in the client's own program (``python1.py``, ``python2.py``, ``javascript.cjs``); here
stands which client has which method, and what is told of each.
"""

from collections.abc import Mapping

import pytest

from tests.acceptance.clients.conftest import CLIENTS, Report

ALL = "python1 python2 javascript"
METHODS: Mapping[str, str] = {
    "run": ALL,
    "run, aborted": "javascript",
    "async_run": "python1 python2",
    "use": "python2",
    "use(streaming)": "python2",
    "stream": ALL,
    "async_stream": "python1",
    "prediction.stream": "python1",
    "predictions.create(version)": ALL,
    "predictions.create(model)": "python1 javascript",
    "predictions.create(deployment)": "python1",
    "models.predictions.create": "python1 python2",
    "deployments.predictions.create": ALL,
    "deployment.predictions.create": "python1",
    "predictions.get": ALL,
    "prediction.reload": "python1",
    "predictions.wait": ALL,
    "predictions.cancel": ALL,
    "prediction.cancel": "python1",
    "predictions.list": ALL,
    "paginate": "javascript",
    "files.create": ALL,
    "files.get": ALL,
    "files.list": ALL,
    "files.delete": ALL,
    "files.download": "python2",
    "inputs: a file": ALL,
    "inputs: a data URI": ALL,
    "output files": ALL,
    "models.create": ALL,
    "models.get": ALL,
    "models.list": ALL,
    "models.search": ALL,
    "models.delete": "python1 python2",
    "models.update": "python2",
    "readme.get": "python2",
    "models.examples.list": "python2",
    "model.default_example": ALL,
    "model.reload": "python1",
    "models.versions.list": ALL,
    "models.versions.get": ALL,
    "models.versions.delete": "python1 python2",
    "trainings.create": ALL,
    "trainings.get": ALL,
    "trainings.list": ALL,
    "trainings.cancel": ALL,
    "training.cancel": "python1",
    "training.reload": "python1",
    "run, trained": ALL,
    "deployments.create": ALL,
    "deployments.get": ALL,
    "deployments.list": ALL,
    "deployments.update": ALL,
    "deployments.delete": ALL,
    "accounts.current": ALL,
    "hardware.list": ALL,
    "collections.list": ALL,
    "collections.get": ALL,
    "webhooks.default.secret": ALL,
    "webhooks.validate": "python1 javascript",
    "search": "python2",
}


@pytest.mark.parametrize(
    ("client", "method"),
    [(client, method) for client in CLIENTS for method in METHODS if client in METHODS[method].split()],
)
def test_method(reports: dict[str, Report], client: str, method: str) -> None:
    fault = reports[client].get(method, "the program has no such case")
    assert fault is None, fault


@pytest.mark.parametrize("client", CLIENTS)
def test_no_case_of_a_program_goes_unseen(reports: dict[str, Report], client: str) -> None:
    methods = {name for name in reports[client] if not name.startswith("trap: ")}
    assert methods == {name for name in METHODS if client in METHODS[name].split()}
