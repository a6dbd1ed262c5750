import datetime
import uuid
from decimal import Decimal
from typing import Dict, List, Optional, Union

from cog import BaseModel, Path


class Output(BaseModel):
    at: datetime.datetime
    day: Optional[datetime.date]
    id: uuid.UUID
    price: Decimal
    lasted: datetime.timedelta
    anything: object
    parts: Dict[str, Union[Path, str, List[Path]]]


def Predictor() -> Output:
    raise NotImplementedError
