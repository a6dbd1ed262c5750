"""The hazards of workers of 2022, one by one: what they are known to do, and what becomes of it here."""

import json
import signal
import time
from collections.abc import Callable

import httpx

from tests.support.commands import Server, run, until
from tests.support.legacy import CLIENT_TOKEN, MODEL, WORKER_STRING, LegacyWorker, calls_of, import_tokens

Hire = Callable[..., LegacyWorker]


class TestHazard1APoisonJob:
    """It says nothing, closes in order, and is back at once."""

    def test_two_workers_hang_up_on_it_and_it_is_over(self, old: Server, hire: Hire) -> None:
        workers, calls = [hire(old).connect() for _ in range(3)], calls_of(old)
        id = calls.create(MODEL, {"image": "https://nowhere.invalid/x.png"})["id"]
        for _ in range(2):
            worker = until(lambda: next((w for w in workers if not w.nothing_came()), None), "its worker")
            assert worker.job()["id"] == id
            worker.hang_up()
            worker.connect()  # it never began it: its answers can be trusted
        done = calls.ended(id)
        assert (done["status"], done["error_code"]) == ("failed", "poison")
        assert "hung up without a word" in done["error"]
        ids = {calls.create(MODEL, {})["id"] for _ in range(3)}
        assert {worker.run()["id"] for worker in workers} == ids

    def test_it_is_not_given_to_one_worker_for_ever(self, old: Server, hire: Hire) -> None:
        worker, calls = hire(old).connect(), calls_of(old)
        id = calls.create(MODEL, {})["id"]
        for _ in range(2):
            worker.job()
            worker.hang_up()
            worker.connect()
        assert calls.ended(id)["error_code"] == "poison"
        worker.ping()
        assert worker.nothing_came()

    def test_hanging_up_after_a_word_means_distrust(self, old: Server, hire: Hire) -> None:
        worker, calls = hire(old).connect(), calls_of(old)
        calls.create(MODEL, {})
        worker.processing(worker.job())
        worker.hang_up()
        assert worker.refused() == 403


class TestHazard2DeafWhileItWorks:
    """It neither reads nor answers until its job ends."""

    def test_a_long_silence_costs_it_nothing(self, serve: Callable[..., Server], hire: Hire) -> None:
        """Stopped, it answers nothing at all; an agent of today would be given up many times over."""
        server = serve("--silence-s", "0.4", "--beat-s", "0.1", "--lease-s", "0.4")
        import_tokens(server)
        worker, calls = hire(server).connect(), calls_of(server)
        id = calls.create(MODEL, {})["id"]
        job = worker.job()
        worker.processing(job)
        calls.reaches(id, "processing")
        worker.stop()
        time.sleep(1.5)  # the silence itself is what is tested
        assert calls.get(id)["status"] == "processing"
        worker.go_on()
        worker.succeeded(job, "after the silence")
        assert calls.ended(id)["output"] == "after the silence"
        calls.create(MODEL, {})
        worker.run()

    def test_nothing_is_sent_to_it_in_a_job(self, old: Server, hire: Hire) -> None:
        worker, calls = hire(old).connect(), calls_of(old)
        first, second = (calls.create(MODEL, {"n": n})["id"] for n in range(2))
        job = worker.job()
        worker.stop()
        calls.http.post(f"/v1/predictions/{first}/cancel")
        calls.http.post(f"/v1/predictions/{second}/cancel")
        third = calls.create(MODEL, {})["id"]
        worker.go_on()
        worker.ping()
        assert worker.nothing_came()
        worker.succeeded(job)
        assert worker.run()["id"] == third


class TestHazard3AResultIsLostWithItsConnection:
    def test_a_worker_that_comes_back_later_is_not_waited_for(self, old: Server, hire: Hire) -> None:
        """A silent job: the worker notices only after its end, and never sends the result."""
        worker, calls = hire(old).connect(), calls_of(old)
        id = calls.create(MODEL, {})["id"]
        worker.processing(worker.job())
        worker.cut()
        assert hire(old).connect().run("again")["id"] == id
        assert calls.ended(id)["output"] == "again"
        assert worker.refused() == 403


class TestHazard4AnswersToTheWrongJob:
    def test_an_answer_with_an_older_output_never_reaches_a_client(self, old: Server, hire: Hire) -> None:
        """Its next answers would be of the job before: so it gets no next job, on any connection."""
        worker, calls = hire(old).connect(), calls_of(old)
        calls.create(MODEL, {"n": 1})
        job = worker.job()
        worker.processing(job, ["a"], ["yielding"])
        worker.cut()
        second = calls.create(MODEL, {"n": 2})["id"]
        for _ in range(3):
            assert worker.refused() == 403
        good = hire(old).connect()
        ran = [good.run("right"), good.run("right")]
        assert {job["id"], second} == {each["id"] for each in ran}
        assert calls.ended(second)["output"] == "right"

    def test_an_operator_sees_it_and_may_let_it_in(self, alone: Server, hire: Hire) -> None:
        worker, calls = hire(alone).connect(), calls_of(alone)
        calls.create(MODEL, {})
        worker.processing(worker.job())
        worker.cut()
        assert worker.refused() == 403
        data = ("--data", str(alone.data))
        (row,) = json.loads(run("worker", "list", "--json", *data).stdout)
        assert (row["state"], "while a job was open" in row["reason"]) == ("distrusted", True)
        assert WORKER_STRING not in json.dumps(row)
        assert run("worker", "release", row["worker"], *data).returncode == 0
        worker.connect().run()


class TestHazard5ItsChildDies:
    def test_the_run_limit_ends_what_is_silent_for_ever(
        self, serve: Callable[..., Server], hire: Hire
    ) -> None:
        server = serve("--run-s", "0.5", "--cancel-grace-s", "0.2")
        import_tokens(server)
        worker, calls = hire(server).connect(), calls_of(server)
        id = calls.create(MODEL, {})["id"]
        worker.processing(worker.job())
        done = calls.ended(id, 10)
        assert (done["status"], done["error_code"]) == ("canceled", "run_timeout")
        following = calls.create(MODEL, {})["id"]
        worker.ping()
        assert worker.nothing_came()
        worker.cut()
        assert worker.refused() == 403
        assert hire(server).connect().run()["id"] == following


class TestHazard6AWorkingWorkerBurnsACore:
    def test_a_flood_of_states_is_read_as_it_comes(self, old: Server, hire: Hire) -> None:
        """A busy loop that sends its whole state for every line: each line counts once."""
        worker, calls = hire(old).connect(), calls_of(old)
        id = calls.create(MODEL, {})["id"]
        job = worker.job()
        lines = [f"line {n}" for n in range(300)]
        for count in range(1, len(lines) + 1):
            worker.processing(job, None, lines[:count])
        worker.succeeded(job, "done", lines)
        assert calls.ended(id)["logs"].splitlines() == lines


class TestHazard7SignalsDoNotStopIt:
    def test_sigkill_of_a_busy_one_gives_its_job_to_another_at_once(self, old: Server, hire: Hire) -> None:
        worker, calls = hire(old).connect(), calls_of(old)
        id = calls.create(MODEL, {})["id"]
        worker.processing(worker.job())
        calls.reaches(id, "processing")
        other = hire(old).connect()
        worker.close()
        assert other.run()["id"] == id


class TestHazard8RefusedWorkersTryForEver:
    def test_one_that_is_sent_away_is_refused_before_the_upgrade_from_then_on(
        self, old: Server, hire: Hire
    ) -> None:
        """Accepted and closed again it would be back thousands of times; a refusal makes it wait."""
        worker, calls = hire(old).connect(), calls_of(old)
        calls.create(MODEL, {})
        worker.failed(worker.job(), "Prediction timed out")
        worker.next("closed")
        for _ in range(20):
            assert worker.refused() == 403

    def test_many_refusals_cost_others_nothing(self, alone: Server, hire: Hire) -> None:
        stranger = hire(alone, token="nobody-at-all")
        worker, calls = hire(alone).connect(), calls_of(alone)
        stranger.do("storm", stranger.url, 200)
        calls.create(MODEL, {})
        worker.run()
        # From some number on it is refused for its address, without a look into the store.
        assert {stranger.next("refused")[0] for _ in range(200)} == {401, 429}


class TestHazard9TheServerWasAway:
    def test_idle_workers_come_back_by_themselves(self, alone: Server, hire: Hire) -> None:
        worker, calls = hire(alone).connect(), calls_of(alone)
        alone.kill()
        worker.next("closed")
        worker.dial()
        worker.next("away")
        alone.start()
        worker.connect()
        id = calls.create(MODEL, {})["id"]
        assert worker.run()["id"] == id


class TestRestarts:
    def test_a_restart_lets_a_busy_worker_finish_first(self, alone: Server, hire: Hire) -> None:
        busy, idle, calls = hire(alone).connect(), hire(alone).connect(), calls_of(alone)
        id = calls.create(MODEL, {})["id"]
        busy, idle = (
            (busy, idle) if until(lambda: which(busy, idle), "its worker") == "first" else (idle, busy)
        )
        job = busy.job()
        busy.processing(job)
        calls.reaches(id, "processing")
        assert alone.command is not None
        alone.command.process.send_signal(signal.SIGTERM)
        idle.next("closed")
        busy.succeeded(job, "in time")
        busy.next("closed")
        assert alone.command.process.wait(20) == 0
        alone.start()
        assert calls.ended(id)["output"] == "in time"
        busy.connect()
        idle.connect()

    def test_kill_9_with_a_busy_worker_runs_its_job_on_another_one(self, alone: Server, hire: Hire) -> None:
        """Promise 7: no prediction fails by it, and it does not count; the old worker is distrusted."""
        worker, calls = hire(alone).connect(), calls_of(alone)
        id = calls.create(MODEL, {})["id"]
        worker.processing(worker.job(), None, ["l1"])
        calls.reaches(id, "processing")
        alone.kill()
        worker.next("closed")
        alone.start()
        assert worker.refused() == 403  # a chatty one is back at once
        assert hire(alone).connect().run("again")["id"] == id
        done = calls.ended(id)
        assert (done["status"], done["output"]) == ("succeeded", "again")

    def test_kill_9_with_a_silent_worker_that_does_not_come_back(self, alone: Server, hire: Hire) -> None:
        worker, calls = hire(alone).connect(), calls_of(alone)
        id = calls.create(MODEL, {})["id"]
        worker.job()
        alone.kill()
        worker.next("closed")
        alone.start()
        assert hire(alone).connect().run("again")["id"] == id
        assert worker.refused() == 403


class TestSecrets:
    def test_the_token_in_the_path_is_in_no_log_list_or_file(
        self, serve: Callable[..., Server], hire: Hire
    ) -> None:
        server = serve("--log-level", "debug")
        import_tokens(server)
        worker, calls = hire(server).connect(), calls_of(server)
        calls.create(MODEL, {})
        worker.failed(worker.job(), "Prediction timed out")
        worker.next("closed")
        assert worker.refused() == 403
        hire(server, token="wrong-" + WORKER_STRING).refused()
        answer = httpx.get(f"{server.url}/v1/models/{MODEL}/websocket/{WORKER_STRING}")
        assert answer.status_code == 400
        assert server.command is not None
        data = ("--data", str(server.data))
        told = [run("token", "list", *data).stdout, run("worker", "list", "--all", *data).stdout, answer.text]
        assert server.stop() == 0
        told += server.command.lines
        stored = b"".join(p.read_bytes() for p in server.data.rglob("*") if p.is_file())
        for secret in (WORKER_STRING, CLIENT_TOKEN, "r8_a_key"):
            assert secret not in "\n".join(told)
            assert secret.encode() not in stored


def which(first: LegacyWorker, second: LegacyWorker) -> str | None:
    if not first.nothing_came():
        return "first"
    return None if second.nothing_came() else "second"
