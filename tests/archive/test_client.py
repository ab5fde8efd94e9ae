"""Answers are checked, repeated where that may help, and never asked for faster than allowed."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from mergerexp.archive.client import Client, Refused, Retry
from mergerexp.errors import DataError
from tests.archive.server import CUTOUT, Answer
from tests.conftest import REPOSITORY

WHERE = {"ra": "10", "dec": "1", "scale": "0.4", "width": "16", "height": "16"}


def once(answer):
    return lambda *_: answer


def get(client, archive, read=lambda answer: answer.content):
    return client.get(f"{archive.address}{CUTOUT}", WHERE, read)


@pytest.mark.parametrize(
    "fault",
    [
        Answer(b"busy", status=503),
        Answer(b"busy", status=500),
        Answer(b"slow down", status=429),
        Answer(b"", status=202),  # an empty body that is not ready yet (ztf-viewer #614)
        Answer(b""),
        Answer(b"half of", length=4000),
    ],
)
def test_what_may_be_better_next_time_is_asked_for_again(fault, archive, client):
    archive.faults = [once(fault), once(fault)]
    assert get(client, archive)[:2] == b"\xff\xd8"
    assert (client.counts.requests, client.counts.retries) == (3, 2) and len(archive.times) == 3


def test_what_an_answer_lacks_is_asked_for_again(archive, client):
    said = iter([Retry("no table"), None])

    def read(answer):
        if error := next(said):
            raise error
        return "what it holds"

    assert get(client, archive, read) == "what it holds"
    assert client.counts.retries == 1


@pytest.mark.parametrize("status", [400, 404])
def test_what_is_refused_is_not_asked_for_again(status, archive, client):
    archive.faults = [once(Answer(b"no", status=status))]
    with pytest.raises(Refused, match=f"status {status}"):
        get(client, archive)
    assert len(archive.times) == 1


def test_a_wait_that_is_asked_for_is_kept(archive, client):
    """Retry-After is obeyed, in seconds and as a date (marvin #832)."""
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    archive.faults = [
        once(Answer(b"", status=429, headers={"Retry-After": "0.4"})),
        once(Answer(b"", status=503, headers={"Retry-After": soon})),
    ]
    get(client, archive)
    first, second, third = archive.times
    assert second - first >= 0.4 and third - second >= 0.4


def test_a_service_that_asks_for_hours_is_left_alone(archive, client):
    archive.faults = [once(Answer(b"", status=429, headers={"Retry-After": "7300"}))]
    with pytest.raises(DataError, match="the same command goes on later"):
        get(client, archive)
    assert len(archive.times) == 1


def test_after_all_tries_the_last_reason_is_named(archive, tmp_path):
    client = Client(tmp_path, rate=500.0, tries=3, first_wait=0.001)
    archive.faults = [once(Answer(b"", status=503))] * 3
    with pytest.raises(DataError, match="no usable answer after 3 tries; the last one was: status 503"):
        get(client, archive)


def test_a_service_that_is_not_there_is_named(tmp_path):
    client = Client(tmp_path, rate=500.0, tries=2, first_wait=0.001)
    with pytest.raises(
        DataError, match=r"http://127.0.0.1:9/x: no usable answer after 2 tries.*ConnectionError"
    ):
        client.get("http://127.0.0.1:9/x", {}, lambda answer: None)


def test_the_rate_is_never_exceeded_even_by_several_processes(archive, tmp_path):
    script = (
        "import sys; from pathlib import Path; from mergerexp.archive.client import Client\n"
        "client = Client(Path(sys.argv[1]), rate=20.0)\n"
        f"for _ in range(6): client.get(sys.argv[2], {WHERE}, lambda answer: None)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path), f"{archive.address}{CUTOUT}"]
    jobs = [subprocess.Popen(command, cwd=REPOSITORY) for _ in range(2)]
    assert [job.wait() for job in jobs] == [0, 0]
    # The pause between two requests is one between their beginnings; the server may see them a bit closer.
    assert len(archive.times) == 12 and archive.times[-1] - archive.times[0] >= 11 / 20 - 0.04


def test_a_restart_waits_as_if_nothing_had_happened(archive, tmp_path):
    get(Client(tmp_path, rate=2.0), archive)
    get(Client(tmp_path, rate=2.0), archive)
    assert archive.times[1] - archive.times[0] >= 0.45


def test_a_clock_that_was_set_back_does_not_stop_it(archive, tmp_path):
    (tmp_path / "last_request").write_text(repr(time.time() + 86_400))
    started = time.monotonic()
    get(Client(tmp_path, rate=10.0), archive)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("status", [401, 403, 407])
def test_a_service_that_may_not_be_asked_is_no_matter_of_one_object(status, archive, client):
    archive.faults = [once(Answer(b"no", status=status))]
    with pytest.raises(DataError, match=f"answers with status {status}: it may have moved, or this machine"):
        get(client, archive)


def test_a_request_that_is_sent_on_keeps_the_rate(archive, tmp_path):
    client = Client(tmp_path, rate=5.0)
    archive.faults = [once(Answer(b"", status=302, headers={"Location": f"{CUTOUT}?ra=1&width=8"}))]
    get(client, archive)
    assert client.counts.requests == 2 and archive.times[1] - archive.times[0] >= 0.18
    archive.faults = [once(Answer(b"", status=302, headers={"Location": f"{CUTOUT}?ra=1&width=8"}))] * 9
    with pytest.raises(DataError, match="sent on more than 5 times"):
        get(Client(tmp_path / "b", rate=500.0), archive)


def test_a_wait_that_is_asked_for_holds_for_all_and_after_a_restart(archive, tmp_path):
    client = Client(tmp_path, rate=500.0, tries=1)
    archive.faults = [once(Answer(b"", status=429, headers={"Retry-After": "1.0"}))]
    with pytest.raises(DataError):
        get(client, archive)
    get(Client(tmp_path, rate=500.0), archive)
    assert archive.times[1] - archive.times[0] >= 0.95


@pytest.mark.parametrize("said", ["inf", "1e400", "99999999"])
def test_a_wait_without_end_is_not_waited_for(said, archive, client):
    archive.faults = [once(Answer(b"", status=503, headers={"Retry-After": said}))]
    with pytest.raises(DataError, match="the same command goes on later"):
        get(client, archive)


@pytest.mark.parametrize("left", ["", "17.3e", "nonsense"])
def test_what_a_kill_leaves_of_a_wait_stops_nobody(left, archive, client):
    client._asked(archive.address).write_text(left)
    assert get(client, archive)


def test_a_shorter_wait_does_not_undo_a_longer_one(archive, tmp_path):
    asked = [once(Answer(b"", status=429, headers={"Retry-After": wait})) for wait in ("1.2", "0.1")]
    archive.faults = asked
    clients = [Client(tmp_path, rate=500.0, tries=1, first_wait=0.01) for _ in range(2)]
    with pytest.raises(DataError):
        get(clients[0], archive)
    clients[1]._wait_until(archive.address, 0.1)
    archive.faults.clear()
    get(clients[1], archive)
    assert archive.times[1] - archive.times[0] >= 1.15


def test_a_wait_of_hours_holds_after_a_restart_too(archive, tmp_path):
    archive.faults = [once(Answer(b"", status=429, headers={"Retry-After": "7300"}))]
    for _ in range(2):
        with pytest.raises(DataError, match=r"asks to wait for 2(\.\d)? h"):
            get(Client(tmp_path, rate=500.0), archive)
    assert len(archive.times) == 1


@pytest.mark.parametrize("place", ["ftp://127.0.0.1/x", "http://[bad/", "file:///etc/passwd"])
def test_an_address_that_leads_nowhere_is_named(place, archive, client):
    archive.faults = [once(Answer(b"", status=302, headers={"Location": place}))]
    with pytest.raises(DataError, match=r"can't be asked|no usable answer"):
        get(client, archive)


def test_a_wait_is_of_one_service_and_of_a_day_at_most(archive, client):
    archive.faults = [once(Answer(b"", status=503, headers={"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}))]
    with pytest.raises(DataError, match="asks to wait"):
        get(client, archive)
    with pytest.raises(DataError, match=r"asks to wait for 24(\.\d)? h.*not_before"):
        get(client, archive)
    assert client._left("http://elsewhere.org/x") == 0


def test_a_wait_that_was_said_in_the_future_is_none(archive, client):
    month = time.time() + 30 * 86_400
    client._asked(archive.address).write_text(f"{month!r} {month + 7200!r}")
    assert get(client, archive)
