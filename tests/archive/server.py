"""A server on this machine that answers as SkyServer does, and misbehaves as it is told to."""

from __future__ import annotations

import io
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlparse

import numpy as np
import pandas as pd
from PIL import Image

DARG = "/data/mergers/darg_mergers.csv"
SQL, CUTOUT = "/SkyServerWS/SearchTools/SqlSearch", "/SkyServerWS/ImgCutout/getjpeg"


@dataclass
class Answer:
    """What the server says."""

    body: bytes
    kind: str = "text/plain; charset=utf-8"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None  # what it says of the body's length


@dataclass
class Archive:
    """What the server has, and how it misbehaves.

    Attributes
    ----------
    galaxies
        The rows of a table with the column z.
    faults
        What becomes of answers: functions of the path, the parameters and the usual answer, which return
        another one, or None to leave it. The first that returns one is used up.
    times
        When requests came.
    asked
        The parameters of all requests.
    """

    galaxies: pd.DataFrame
    first_line: str = "#Table1\n"
    faults: list[Callable[[str, dict[str, str], Answer], Answer | None]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    asked: list[dict[str, str]] = field(default_factory=list)
    row_cap: int | None = None
    darg: pd.DataFrame | None = None
    address: str = ""

    def answer(self, path: str, parameters: dict[str, str]) -> Answer:
        if path == DARG:
            usual = Answer(self.darg.to_csv(index=False).encode(), "text/csv")
        else:
            usual = self._table(parameters["cmd"]) if path == SQL else self._image(parameters)
        for fault in list(self.faults):
            if (found := fault(path, parameters, usual)) is not None:
                self.faults.remove(fault)
                return found
        return usual

    def _table(self, sql: str) -> Answer:
        between = re.search(r"z>=([\d.]+) AND s\.z<([\d.]+)", sql)
        if between is None:  # what the joins leave out
            number = 3 if "WHERE" in sql else len(self.galaxies) + 6
            return Answer(f"{self.first_line}n\n{number}\n".encode())
        low, high = map(float, between.groups())
        rows = self.galaxies[(self.galaxies["z"] >= low) & (self.galaxies["z"] < high)]
        if "COUNT(*)" in sql:
            return Answer(f"{self.first_line}n\n{len(rows)}\n".encode())
        names = re.findall(r" AS (\w+)(?=,| FROM)", sql)
        rows = rows if self.row_cap is None else rows.iloc[: self.row_cap]
        return Answer((self.first_line + rows[names].to_csv(index=False, na_rep="null")).encode())

    def _image(self, parameters: dict[str, str]) -> Answer:
        size = int(parameters["width"])
        seed = int(float(parameters["ra"]) * 1e4)
        pixels = np.random.default_rng(seed).integers(0, 255, (size, size, 3)).astype(np.uint8)
        return Answer(jpeg(pixels), "image/jpeg")


def jpeg(pixels: np.ndarray) -> bytes:
    body = io.BytesIO()
    Image.fromarray(pixels).save(body, "JPEG")
    return body.getvalue()


@contextmanager
def serving(archive: Archive) -> Iterator[Archive]:
    """Serve an archive at its address, until the block is left."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            archive.times.append(time.monotonic())
            url = urlparse(self.path)
            parameters = {key: values[0] for key, values in parse_qs(url.query).items()}
            archive.asked.append(parameters)
            said = archive.answer(url.path, parameters)
            self.send_response(said.status)
            self.send_header("Content-Type", said.kind)
            self.send_header("Content-Length", str(len(said.body) if said.length is None else said.length))
            for key, value in said.headers.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(said.body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    archive.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield archive
    finally:
        server.shutdown()
        server.server_close()
