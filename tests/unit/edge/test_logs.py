"""``cogflare logs``: what is new of each attempt at each look."""

from coordinator.keeping import without_data
from coordinator.prediction import Attempt, Document
from edge.commands.watching.log_reader import LogReader, Part


def look(reader: LogReader, logs: str, *attempts: dict[str, object]) -> list[Part]:
    return list(reader.news({"logs": logs, "attempts": list(attempts)}))


def attempt(number: int, outcome: str | None = None, logs: str = "", reason: str = "") -> dict[str, object]:
    return {"number": number, "worker": f"gpu-{number}", "outcome": outcome, "logs": logs, "reason": reason}


def test_one_attempt_has_no_heading_and_comes_piece_by_piece() -> None:
    reader = LogReader()
    assert look(reader, "") == []
    assert look(reader, "one\n") == [Part("", "one\n")]
    assert look(reader, "one\ntwo\n") == [Part("", "two\n")]
    assert look(reader, "one\ntwo\n", attempt(1, "finished")) == []


def test_the_attempt_before_is_shown_with_what_became_of_it() -> None:
    reader = LogReader()
    assert look(reader, "a\n", attempt(1)) == [Part("", "a\n")]
    crashed = attempt(1, "crashed", "a\nb\n", "SIGSEGV")
    assert look(reader, "", crashed) == [Part("attempt 1, gpu-1: crashed, SIGSEGV", "b\n")]
    assert look(reader, "c\n", crashed, attempt(2)) == [Part("attempt 2, gpu-2", "c\n")]
    assert look(reader, "c\nd\n", crashed, attempt(2, "finished")) == [
        Part("attempt 2, gpu-2: finished", "d\n")
    ]


def test_a_first_look_at_the_end_shows_all() -> None:
    found = look(LogReader(), "c\n", attempt(1, "lost", "a\n"), attempt(2, "finished"))
    assert [part.text for part in found] == ["a\n", "c\n"]
    assert [part.heading for part in found] == ["attempt 1, gpu-1: lost", "attempt 2, gpu-2: finished"]


def test_the_head_that_is_no_longer_kept_is_not_shown_twice() -> None:
    reader = LogReader()
    first = "".join(f"line {number}\n" for number in range(100))
    look(reader, first)
    assert look(reader, f"{first[200:]}more\n") == [Part("", "more\n")]


def test_logs_of_attempts_go_with_the_other_data() -> None:
    gave_up = Attempt(number=1, agent="a", agent_name="a", incarnation="i", dispatched_at=1, logs="secret")
    document = Document(
        id="x", account="a", token="t", pool="p", model="m/m", created_at=1, input=b"{}", attempts=(gave_up,)
    )
    assert without_data(document).attempts[0].logs == ""
