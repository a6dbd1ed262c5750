"""A model that can be trained, and an agent that does so, on a server in this process."""

from typing import Any

import msgspec

from coordinator import calls
from coordinator.protocol import messages as wire
from coordinator.protocol.names import training_queue
from tests.support.edge import SCHEMA, VERSION, ScriptedAgent, TestServer, register

MODEL = "acme/pupil"
DESTINATION = "acme/taught"
PATH = f"/v1/models/{MODEL}/versions/{VERSION}/trainings"
FILE = {"type": "string", "format": "uri", "nullable": True}
TRAINABLE: dict[str, Any] = {
    "components": {
        "schemas": {
            "Input": {
                "type": "object",
                "properties": {"text": {"type": "string"}, "replicate_weights": FILE},
            },
            "Output": {"type": "string"},
            "TrainingInput": {
                "type": "object",
                "required": ["steps"],
                "properties": {
                    "steps": {"type": "integer", "minimum": 1},
                    "data": FILE,
                    "key": SCHEMA["components"]["schemas"]["Input"]["properties"]["key"],
                },
            },
            "TrainingOutput": {"type": "object", "properties": {"weights": FILE}},
        }
    }
}
BODY = {"destination": DESTINATION, "input": {"steps": 2}}


async def trainer(server: TestServer, schema: dict[str, Any] = TRAINABLE) -> ScriptedAgent:
    """Register the model and its destination, and have an agent at its trainings."""
    await register(server.services.store, MODEL, schema=schema)
    agent = await _beside(server, training_queue(MODEL))
    owner, _, name = DESTINATION.partition("/")
    body = {"owner": owner, "name": name, "visibility": "private", "hardware": "cpu"}
    (await server.http.post("/v1/models", json=body)).raise_for_status()
    return agent


async def predictor(server: TestServer) -> ScriptedAgent:
    """An agent at the model's predictions."""
    return await _beside(server, MODEL)


async def train(server: TestServer, **more: Any) -> dict[str, Any]:
    answer = await server.http.post(PATH, json={**BODY, **more})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def trained(server: TestServer, agent: ScriptedAgent, weights: bytes = b"w") -> dict[str, Any]:
    """A training from its creation to its end."""
    made = await train(server)
    dispatch = await agent.start()
    file = await server.upload(dispatch, "weights.bin", weights, "application/octet-stream", agent)
    agent.finish(dispatch, {"weights": f"{wire.BLOB_REFERENCE}{file.key}"}, files=(file,))
    agent.offer()
    await server.ended(made["id"])
    return dict((await server.http.get(f"/v1/trainings/{made['id']}")).json())


async def _beside(server: TestServer, model: str) -> ScriptedAgent:
    number = await server.services.store.objects.number("default", model)
    address = calls.SocketAddress("test", model)
    agent = ScriptedAgent(server.agent.models, number, address=address, model=model)
    server.agent.others[address] = agent
    await agent.attach()
    return agent


def value(raw: msgspec.Raw) -> Any:
    return msgspec.json.decode(raw)
