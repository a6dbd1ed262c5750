"""A running Cog server as the source of a model."""

import ssl
from collections.abc import Callable, Mapping
from pathlib import Path

from coordinator.protocol.addresses import AddressRules
from gpu_agent.container.api import CogApi
from gpu_agent.container.receiver import Receiver
from gpu_agent.container.runner import ContainerRunner
from gpu_agent.fetch import Fetcher
from gpu_agent.runner import Runner
from gpu_agent.runner_types import SetupFailed
from gpu_agent.settings import AgentSettings
from gpu_agent.source import Listener, ModelRunner


class ContainerSource:
    """The Cog server at ``url``; ``slots`` predictions at a time are given to it."""

    version = ""
    """Known by its document, when it is there."""
    trains = False

    def __init__(
        self,
        name: str,
        url: str,
        *,
        slots: int,
        receiver: Receiver,
        fetcher: Fetcher,
        tls: ssl.SSLContext,
        scratch: Path,
        answer_bytes: int,
    ) -> None:
        """``receiver`` and ``fetcher`` may be shared; the latter lives as long as the process."""
        self.concurrency = slots
        self._name = name
        self._url = url
        self._receiver = receiver
        self._fetcher = fetcher
        self._tls = tls
        self._scratch = scratch
        self._answer_bytes = answer_bytes

    def runner(self, work_dir: Path, listener: Listener) -> ModelRunner:
        return ContainerRunner(
            name=self._name,
            api=CogApi(self._url, self._tls, answer_bytes=self._answer_bytes),
            receiver=self._receiver,
            fetcher=self._fetcher,
            scratch=self._scratch,
            work_dir=work_dir,
            slots=self.concurrency,
            listener=listener,
        )

    def trainer(self, work_dir: Path, say: Callable[[str], None]) -> Runner:
        raise NotImplementedError("a Cog server is given predictions only")

    def explain(self, error: SetupFailed | OSError) -> str:
        return getattr(error, "strerror", None) or str(error)


def sources_of(
    servers: Mapping[str, str], settings: AgentSettings, scratch: Path, tls: ssl.SSLContext
) -> dict[str, ContainerSource]:
    """A source for each server, by the model's name. They share what they can."""
    receiver = Receiver(settings.cog_callback_url, body_bytes=settings.cog_answer_bytes)
    fetcher = Fetcher(
        AddressRules(settings.allow_private),
        tls,
        limit_bytes=settings.cog_answer_bytes,
        limit_s=settings.input_s,
    )
    return {
        name: ContainerSource(
            name,
            url,
            slots=settings.slots or 1,
            receiver=receiver,
            fetcher=fetcher,
            tls=tls,
            scratch=scratch,
            answer_bytes=settings.cog_answer_bytes,
        )
        for name, url in servers.items()
    }
