"""A polite client for the services of an archive.

Astronomy clients have parsed pages of errors as tables, and kept them; here every answer is checked before
anybody sees it. Requests are never closer together than the rate allows, for all processes that share a
folder, and after restarts too.
"""

from __future__ import annotations

import logging
import math
import random
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TypeVar
from urllib.parse import urljoin, urlsplit

import requests
from filelock import FileLock

from mergerexp.console import duration
from mergerexp.errors import DataError, describe
from mergerexp.files import written

T = TypeVar("T")
log = logging.getLogger(__name__)
AGENT = "mergerexp (https://doi.org/10.1093/mnras/sty1398 reproduction)"
FIRST_WAIT, LONGEST_WAIT = 1.0, 300.0  # seconds, of the back-off
WAITS_ASKED = 3600.0  # seconds; a service that asks for more is left alone
AGAIN = (408, 425, 429, 500, 502, 503, 504)  # HTTP statuses after which a request may succeed
ABSENT = (400, 404, 410)  # statuses that are about what was asked for, and not about who asks or where
MOVED = (301, 302, 303, 307, 308)
LEADS = 5  # addresses that one request may be sent on to
LONGEST_ASKED = 86_400.0  # seconds that a service is left alone, whatever it says
EMPTY = (202, 204)  # statuses of services that are not ready yet


# What requests raises of answers that break off, do not come, or can't be decoded.
BROKEN = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
)


class Retry(Exception):
    """An answer is not what was asked for, and another request may help.

    Parameters
    ----------
    reason
        What is wrong with it.
    wait
        The seconds that the service asks to wait for.
    """

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class Refused(Exception):
    """The service says that it does not have what was asked for."""


class NoAnswer(DataError):
    """All tries are used up; another time the answer may come."""


@dataclass
class Counts:
    """What a client did.

    Attributes
    ----------
    requests
        The number of requests.
    retries
        How many of them repeated another one.
    """

    requests: int = 0
    retries: int = 0


@dataclass
class Client:
    """Gets answers from a service, not faster than allowed.

    Attributes
    ----------
    folder
        A folder of its own state. Clients with the same folder share one rate.
    rate
        The largest number of requests a second.
    tries
        How often one answer is asked for before it is given up.
    timeout
        After so many seconds without a byte, a request has failed.
    first_wait
        The seconds before the first repetition; they double with each further one.
    counts
        What was done.
    """

    folder: Path
    rate: float
    tries: int = 6
    timeout: float = 60.0
    first_wait: float = FIRST_WAIT
    counts: Counts = field(default_factory=Counts)

    def __post_init__(self) -> None:
        self._session = requests.Session()
        self._session.headers["User-Agent"] = AGENT
        self._jitter = random.Random(0)  # of waits, which changes no result
        self.folder.mkdir(parents=True, exist_ok=True)

    def get(self, address: str, parameters: Mapping[str, str], read: Callable[[requests.Response], T]) -> T:
        """Return what an answer holds.

        Parameters
        ----------
        address
            The address, without parameters.
        parameters
            The parameters of the request.
        read
            Returns what an answer holds. It raises `Retry` if that is not what was asked for, and `Refused`
            if it never will be.

        Raises
        ------
        Refused
            If the service says that it does not have this.
        NoAnswer
            If it has not answered after all tries.
        DataError
            If it asks for a longer wait than an hour, or says that this client may not ask.
        """
        reason = ""
        for attempt in range(self.tries):
            if attempt:
                self.counts.retries += 1
            try:
                answer = self._request(address, parameters)
                self._check_status(answer)
                return read(answer)
            except BROKEN as error:
                reason, asked = type(error).__name__, 0.0
            except Retry as error:
                reason, asked = str(error), error.wait
            if asked:
                self._wait_until(address, min(asked, LONGEST_ASKED))
            if asked > WAITS_ASKED:
                raise _too_long(address, asked, reason)
            if attempt + 1 < self.tries:
                self._wait(attempt, asked, f"{address}: {reason}")
        raise NoAnswer(f"{address}: no usable answer after {self.tries} tries; the last one was: {reason}")

    def _request(self, address: str, parameters: Mapping[str, str]) -> requests.Response:
        """Return an answer, at the end of at most five addresses; each request of these keeps the rate."""
        given = dict(parameters)
        for _ in range(LEADS + 1):
            self._pace(address)
            self.counts.requests += 1
            try:
                answer = self._session.get(address, params=given, timeout=self.timeout, allow_redirects=False)
            except BROKEN:
                raise
            except (requests.RequestException, ValueError) as error:
                raise DataError(f"{address} can't be asked: {describe(error)}") from error
            if answer.status_code not in MOVED or "Location" not in answer.headers:
                break
            address, given = urljoin(answer.url, answer.headers["Location"]), {}
        else:
            raise DataError(
                f"{address}: sent on more than {LEADS} times; look at the address in data.archive"
            )
        said = answer.headers.get("Content-Length")
        if said and "Content-Encoding" not in answer.headers and len(answer.content) != int(said):
            raise Retry(f"a body of {len(answer.content)} instead of {said} bytes")
        return answer

    def _pace(self, address: str) -> None:
        """Wait until the next request is allowed; other processes wait too.

        Raises
        ------
        DataError
            If the service has asked for a wait that is longer than an hour from now.
        """
        interval, file = 1 / self.rate, self.folder / "last_request"
        while True:
            with FileLock(self.folder / ".pace.lock"):
                left = self._left(address)
                if left <= 0:
                    # A clock that was set back would have us wait for hours.
                    time.sleep(min(interval, max(0.0, _number(file) + interval - time.time())))
                    with written(file) as partial:
                        partial.write_text(repr(time.time()))
                    return
            if left > WAITS_ASKED:
                raise _too_long(address, left, f"said earlier, as {self._asked(address)} has it")
            log.info("%s has asked to wait; going on in %s", address, duration(left))
            time.sleep(left)

    def _asked(self, address: str) -> Path:
        """Return the file with when a service has asked to wait, and until when."""
        host = re.sub(r"[^\w.-]", "_", urlsplit(address).netloc)
        return self.folder / f"not_before.{host}"

    def _left(self, address: str) -> float:
        """Return how many seconds a service has still to be left alone."""
        try:
            said, until = map(float, self._asked(address).read_text().split())
        except (OSError, ValueError):
            return 0.0
        # It was said in the future if the clock was set back since.
        return until - time.time() if said <= time.time() else 0.0

    def _wait_until(self, address: str, seconds: float) -> None:
        """Let nobody who asks from here ask a service for some seconds, also after a restart."""
        with FileLock(self.folder / ".pace.lock"):
            if seconds > self._left(address):
                with written(self._asked(address)) as partial:
                    partial.write_text(f"{time.time()!r} {time.time() + seconds!r}")

    @staticmethod
    def _check_status(answer: requests.Response) -> None:
        status = answer.status_code
        if status in AGAIN:
            raise _retry(answer, f"status {status}")
        if status in EMPTY or (status == 200 and not answer.content):
            raise _retry(answer, f"status {status} with an empty body")
        if status in ABSENT:
            raise Refused(f"status {status}")
        if status != 200:
            raise DataError(
                f"{answer.url.partition('?')[0]} answers with status {status}: it may have moved, or this "
                "machine may not ask it"
            )

    def _wait(self, attempt: int, asked: float, what: str) -> None:
        backoff = min(LONGEST_WAIT, self.first_wait * 2**attempt) * (1 + 0.25 * self._jitter.random())
        seconds = max(asked, backoff)
        log.info("%s; another try in %s", what, duration(seconds))
        time.sleep(seconds)


def _number(file: Path) -> float:
    """Return the number in a file; 0 where there is none."""
    try:
        return float(file.read_text())
    except (OSError, ValueError):
        return 0.0


def _too_long(address: str, seconds: float, reason: str) -> DataError:
    return DataError(
        f"{address} asks to wait for {duration(seconds)} ({reason}); the same command goes on later"
    )


def _retry(answer: requests.Response, reason: str) -> Retry:
    """Return an error with the wait that the service asks for, in seconds or until a date."""
    said = answer.headers.get("Retry-After", "")
    try:
        wait = float(said)
    except ValueError:
        try:
            wait = (parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            wait = 0.0
    return Retry(reason, max(0.0, wait) if math.isfinite(wait) else 2 * WAITS_ASKED)
