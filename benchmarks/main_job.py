"""Measures the main job, end to end, against a bare Litestar echo in the same run.

Server, agent (a fake one that answers at once) and load generator (wrk) are processes of their own. The run
is void when the generator, against a server that costs nothing, does not reach twice the echo's rate; it
fails when an answer is bad, a row is missing or the kernel saw too few fsyncs.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from durability import Ledger, NotDurable, check_tracer, syncs_of
from load import ECHOED, SUCCEEDED, Counted, LoadError, load, wrk_version
from processes import HERE, Cogflare, ProcessFailed, cogflare, cpu_s, simple_server
from report import Case, Echo, Report, filesystem_of, write_into

CONNECTIONS = 64
CASES = ((1, 0.0), (10, 0.0), (100, 0.0), (1, 0.002), (1, 0.010))
"""(models, seconds added to each commit)."""
WARM_S = 1.0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=8, help="length of each measurement (default 8)")
    parser.add_argument(
        "--write", type=Path, metavar="FILE", help="put the figures between the marks of FILE"
    )
    parser.add_argument("--keep", action="store_true", help="keep the data directories and logs")
    options = parser.parse_args()
    build = HERE.parent / "build"
    build.mkdir(exist_ok=True)
    # Beside the sources, not in /tmp, which may be memory: an fsync must cost what it costs.
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=build))
    try:
        wrk_version()
        check_tracer()
        report = measure(folder, options.seconds)
    except (LoadError, NotDurable, ProcessFailed) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    finally:
        if options.keep:
            print(f"kept {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    print(report.markdown())
    if report.void:
        print(f"bench: void: {report.void}", file=sys.stderr)
        return 1
    if options.write:
        write_into(options.write, report.markdown())
    return 0


def measure(folder: Path, seconds: float) -> Report:
    """All measurements, one after the other."""
    log = folder / "simple.log"
    with simple_server("trivial.py", log) as url:
        generator = _say("generator alone", _run(url, CONNECTIONS, seconds, SUCCEEDED))
    with simple_server("echo.py", log) as url:
        early = _echo(url, seconds)
    cases = []
    syncs, synced = None, 0
    for models, delay_s in CASES:
        with cogflare(folder / f"{models}-{delay_s}", models=models, commit_delay_s=delay_s) as server:
            ledger = Ledger(server.data)
            case = _case(server, ledger, models, delay_s, seconds)
            if syncs is None:
                # Tracing slows the server down: only the calls count here, not the time.
                with syncs_of(server.server.pid, folder / "syncs.txt") as syncs:
                    synced = _predict(server, ledger, 1, 2).good
                ledger.settle()
            cases.append(case)
    with simple_server("echo.py", log) as url:
        late = _echo(url, seconds)
    assert syncs is not None
    return Report(
        connections=CONNECTIONS,
        generator=generator,
        echo=Echo(many=(early[0], late[0]), one=(early[1], late[1])),
        cases=tuple(cases),
        syncs=syncs,
        synced_predictions=synced,
        filesystem=filesystem_of(folder),
        tool=wrk_version(),
        command="make bench",
    )


def _echo(url: str, seconds: float) -> tuple[Counted, Counted]:
    _run(url, CONNECTIONS, WARM_S, ECHOED)
    many = _say(f"echo, {CONNECTIONS} clients", _run(url, CONNECTIONS, seconds, ECHOED))
    return many, _say("echo, 1 client", _run(url, 1, seconds, ECHOED))


def _case(server: Cogflare, ledger: Ledger, models: int, delay_s: float, seconds: float) -> Case:
    name = f"{models} models, +{delay_s * 1000:g} ms"
    _predict(server, ledger, CONNECTIONS, WARM_S, models)
    cpu = cpu_s(server.server.pid)
    many = _predict(server, ledger, CONNECTIONS, seconds, models)
    cpu = cpu_s(server.server.pid) - cpu
    _say(f"{name}, {CONNECTIONS} clients", many)
    one = _say(f"{name}, 1 client", _predict(server, ledger, 1, seconds)) if models == 1 else None
    rows = ledger.settle()
    return Case(models, delay_s, many, one, cpu / many.good * 1e6, ledger.answers, rows)


def _predict(server: Cogflare, ledger: Ledger, connections: int, seconds: float, models: int = 1) -> Counted:
    counted = _run(server.predictions_url, connections, seconds, SUCCEEDED, server.token, models)
    ledger.add(counted.good, connections)
    return counted


def _run(
    url: str, connections: int, seconds: float, expect: str, token: str = "none", models: int = 1
) -> Counted:
    return load(url, connections=connections, seconds=seconds, expect=expect, token=token, models=models)


def _say(name: str, counted: Counted) -> Counted:
    times = f"p50 {counted.p50_us / 1000:.2f} ms, p99 {counted.p99_us / 1000:.2f} ms"
    print(f"{name}: {counted.per_s:,.0f}/s, {times}", file=sys.stderr, flush=True)
    return counted


if __name__ == "__main__":
    sys.exit(main())
