"""What the bot says when something did not work: plain words, for people who know no HTTP."""

from typing import Any

import httpx

AWAY = "The picture server does not answer. Please try again in a few minutes."
LOST = "I have lost sight of your picture: the server has not answered for minutes. Please ask again."
NO_FILE = "Done, but the model made no file."
FILE_GONE = "Your picture is painted, but I could not fetch it. Please ask again."
STOPPED = "I am being restarted, so your picture was canceled. Please ask again in a minute."
MISTAKE = "Something went wrong on my side, and I have written it down for whoever runs me. Please ask again."
CANCELED = "Canceled."
NOT_YOURS = "Only the one who asked for this picture can cancel it."

_ENDINGS = {
    "deadline_before_start": "No machine was free in time, so this was given up. Please ask again later.",
    "max_wait": "No machine was free in time, so this was given up. Please ask again later.",
    "run_timeout": "This took too long and was stopped. Try a smaller size or fewer steps.",
    "total_timeout": "This took too long and was stopped. Try a smaller size or fewer steps.",
    "worker_lost": "The machines that painted this went away. Please ask again.",
    "poison": "The machines that painted this crashed each time. Another seed may work.",
    "output_lost": "The picture was painted and then lost on its way. Please ask again.",
}


def refusal(answer: httpx.Response) -> str:
    """Why the server would not do it, from its problem document."""
    status = answer.status_code
    problem = _problem(answer)
    if status in (401, 403):
        return "The picture server does not accept this bot's token. Whoever runs the bot must renew it."
    if status == 429:
        return f"Too many pictures were asked for at once. Please try again in {_wait(answer)}."
    if status == 404 or problem.get("code") in ("invalid_version", "no_such_hardware"):
        return "The picture server does not have this model now. Whoever runs the bot must look after it."
    if problem.get("invalid_fields"):
        wrong = [
            f"{str(field['field']).removeprefix('input.')}: {field['description']}"
            for field in problem["invalid_fields"]
        ]
        return "That cannot be painted: " + "; ".join(wrong)
    if status == 503:
        return f"The picture server has too much to do. Please try again in {_wait(answer)}."
    if status >= 500:
        return AWAY
    return f"The picture server refused this: {problem.get('detail') or f'its answer was {status}'}"


def ending(prediction: dict[str, Any]) -> str:
    """What became of a prediction that did not succeed."""
    known = _ENDINGS.get(str(prediction.get("error_code")))
    if known:
        return known
    if prediction["status"] == "canceled":
        return CANCELED
    return f"This could not be painted: {prediction.get('error') or 'the model does not say why'}"


def retry_after_s(answer: httpx.Response) -> float:
    """When the server wants to be asked again; 0 when it does not say."""
    seconds = answer.headers.get("retry-after", "")
    return float(seconds) if seconds.isdecimal() else 0.0


def _wait(answer: httpx.Response) -> str:
    return f"{retry_after_s(answer) or 60:.0f} s"


def _problem(answer: httpx.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
