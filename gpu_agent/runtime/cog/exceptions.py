"""The exceptions of the author API."""


class CancelationException(BaseException):
    """Raised inside a synchronous ``predict`` when its prediction is canceled.

    Not an ``Exception``, so that ``except Exception`` in a model does not swallow it. Clean up and let it
    pass; a prediction that was canceled ends as canceled whatever ``predict`` makes of this.
    """
