"""What a model sets for its predictions, where its requests say nothing: stored on the model's row."""

from typing import Literal

import msgspec

Priority = Literal["interactive", "normal", "batch"]


class ModelConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """None, or empty, leaves it to the server. Times are seconds."""

    queue_s: float | None = None
    """Longest time of waiting,"""
    run_s: float | None = None
    """of each attempt,"""
    total_s: float | None = None
    """and of it all."""
    lease_s: float | None = None
    """How long a lost worker keeps a prediction."""
    retries: int | None = None
    """How many more workers get a prediction that was lost with one."""
    gpu: str = ""
    """Part of the name of the GPU that it needs."""
    gpu_memory: int = 0
    """Bytes that one GPU must have."""
    priority: Priority | None = None
    retention_s: float | None = None
    """How long they are kept after their end."""
    cancel_on_disconnect: bool | None = None
    overflow: str = ""
    """When its predictions run at a provider: a word of ``overflow.policy.When``, ``wait_over:SECONDS`` or
    ``never``; empty for the rule of 2022."""
    replicate_model: str = ""
    """``owner/name`` or ``owner/name:version`` at the provider; empty for the same name as here."""
    replicate_price: float = 0.0
    """What a second of it costs there."""
    price_per_second: float = 0.0
    price_per_prediction: float = 0.0
    """What its predictions cost on own workers: by their run time, and each that succeeds."""
    openai: dict[str, str] | None = None
    """Parameter of OpenAI's API -> name of the input that takes it, empty for none (``edge/openai``)."""
    examples: tuple[str, ...] = ()
    """Ids of predictions that whoever may see the model is shown (``edge/examples.py``)."""


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(ModelConfig).decode
