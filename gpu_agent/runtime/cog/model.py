"""``BaseModel``: structured outputs."""

import dataclasses
import sys
from typing import Any

if sys.version_info >= (3, 11):
    # Only for type checkers: for an older Python they do not see the fields in the constructor.
    from typing import dataclass_transform
else:

    def dataclass_transform(**_: Any) -> Any:
        return lambda cls: cls


@dataclass_transform(kw_only_default=False)
class BaseModel:
    """An output of several fields; each subclass is a dataclass by itself.

    ``class Output(BaseModel): text: str; score: float`` and then ``return Output(text="…", score=0.5)``.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__()
        dataclasses.dataclass(**kwargs)(cls)
