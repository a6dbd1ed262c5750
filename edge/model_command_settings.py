"""What can be set on the commands about models, beside ``settings.py``."""

from dataclasses import dataclass, field

from edge.where import WHERE, Where


@dataclass(frozen=True)
class ModelSetSettings:
    """``cogflare model set``. Its variables have names of their own: a server's limits are not a model's."""

    model: str = field(metadata={"help": "owner/name of a model", "positional": True})
    where: Where = field(default_factory=Where, metadata=WHERE)
    queue_s: float | None = field(
        default=None,
        metadata={"help": "longest time of waiting", "minimum": 1, "variable": "MODEL_QUEUE_S"},
    )
    run_s: float | None = field(
        default=None,
        metadata={"help": "longest time of one attempt", "minimum": 1, "variable": "MODEL_RUN_S"},
    )
    total_s: float | None = field(
        default=None,
        metadata={
            "help": "longest time of waiting and running together, where a request has no Cancel-After",
            "minimum": 1,
            "variable": "MODEL_TOTAL_S",
        },
    )
    retries: int | None = field(
        default=None,
        metadata={
            "help": "how many more workers get a prediction whose worker was lost",
            "minimum": 0,
            "maximum": 100,
            "variable": "MODEL_RETRIES",
        },
    )
    lease_s: float | None = field(
        default=None,
        metadata={
            "help": "how long a lost worker keeps its prediction",
            "minimum": 1,
            "variable": "MODEL_LEASE_S",
        },
    )
    gpu: str | None = field(
        default=None,
        metadata={"help": "part of the name of the GPU that it needs, such as a100", "variable": "MODEL_GPU"},
    )
    gpu_memory_bytes: int | None = field(
        default=None,
        metadata={
            "help": "memory that one GPU must have",
            "option": "gpu_memory",
            "minimum": 0,
            "variable": "MODEL_GPU_MEMORY",
        },
    )
    priority: str | None = field(
        default=None,
        metadata={
            "help": "class of its predictions, where a request has none",
            "choices": ("interactive", "normal", "batch"),
            "variable": "MODEL_PRIORITY",
        },
    )
    overflow: str | None = field(
        default=None,
        metadata={
            "help": "when predictions of tokens that have a --replicate key run at Replicate: never, "
            "no_workers, wait_over:TIME such as wait_over:20s, always, or saturated: no workers, or more "
            "wait than there are workers and one (as when nothing is set)",
            "metavar": "POLICY",
            "variable": "MODEL_OVERFLOW",
        },
    )
    replicate_model: str | None = field(
        default=None,
        metadata={
            "help": "what it is called there: OWNER/NAME, or OWNER/NAME:VERSION; the same name when not set",
            "metavar": "MODEL",
            "variable": "MODEL_REPLICATE_MODEL",
        },
    )
    replicate_price: float | None = field(
        default=None,
        metadata={
            "help": "what a second of it costs there, for --overflow-cost-per-day",
            "minimum": 0,
            "variable": "MODEL_REPLICATE_PRICE",
        },
    )
    price_per_second: float | None = field(
        default=None,
        metadata={"help": "what a second of its running costs here", "variable": "MODEL_PRICE_PER_SECOND"},
    )
    price_per_prediction: float | None = field(
        default=None,
        metadata={
            "help": "what each that succeeds costs besides",
            "variable": "MODEL_PRICE_PER_PREDICTION",
        },
    )
    retention_s: float | None = field(
        default=None,
        metadata={
            "help": "how long input, output, logs and files are kept after the end; forever for no end",
            "option": "retention",
            "variable": "MODEL_RETENTION",
        },
    )
    openai: str | None = field(
        default=None,
        metadata={
            "help": "which inputs take OpenAI's parameters, as JSON: "
            """'{"prompt": "text", "max_tokens": "max_new_tokens"}'; an empty name is none""",
            "variable": "MODEL_OPENAI",
        },
    )
    cancel_on_disconnect: bool | None = field(
        default=None,
        metadata={
            "help": "cancel a prediction when the client that waits for it in its own request hangs up",
            "variable": "MODEL_CANCEL_ON_DISCONNECT",
        },
    )
    example: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "succeeded predictions of it, to show to whoever may see the model, in place of those "
            "before; each as long as it is kept",
            "metavar": "ID",
            "variable": "MODEL_EXAMPLE",
        },
    )
    visibility: str | None = field(
        default=None,
        metadata={
            "help": "who may use it: all (public), or its account alone (private)",
            "choices": ("public", "private"),
            "variable": "MODEL_VISIBILITY",
        },
    )
    reset: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "settings that are the server's again",
            "choices": (
                "queue-s",
                "run-s",
                "total-s",
                "retries",
                "lease-s",
                "gpu",
                "gpu-memory",
                "priority",
                "retention",
                "cancel-on-disconnect",
                "example",
                "openai",
                "overflow",
                "replicate-model",
                "replicate-price",
                "price-per-second",
                "price-per-prediction",
            ),
            "variable": "MODEL_RESET",
        },
    )
    json: bool = field(default=False, metadata={"help": "print JSON"})


@dataclass(frozen=True)
class ModelListSettings:
    """``cogflare model list``."""

    where: Where = field(default_factory=Where, metadata=WHERE)
    json: bool = field(default=False, metadata={"help": "print JSON"})


@dataclass(frozen=True)
class ModelShowSettings:
    """``cogflare model show``."""

    model: str = field(metadata={"help": "owner/name of a model", "positional": True})
    where: Where = field(default_factory=Where, metadata=WHERE)
    json: bool = field(default=False, metadata={"help": "print JSON"})
