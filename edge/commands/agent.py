"""``cogflare agent``: serves models of this machine. Needs none of the server's libraries."""

from gpu_agent.settings import AgentSettings

SETTINGS = AgentSettings
ABOUT = (
    "Serve models of this machine to a Cogflare server. Dials out and needs no open port. SIGTERM finishes "
    "what runs, delivers it and leaves; a second one gives the work back at once."
)


def run(settings: AgentSettings) -> int:
    from gpu_agent.cli import main

    return main(settings)
