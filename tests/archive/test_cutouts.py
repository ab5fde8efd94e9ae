"""Cutouts are whole images of something, asked for once, or named with their reason."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mergerexp.archive.cutouts import MANIFEST, Cutouts, Outcome, Service, Wanted
from mergerexp.errors import DataError
from tests.archive.server import CUTOUT, Answer, jpeg

SIZE = 24
WANTED = [Wanted(str(number), 10.0 + number, 1.0, 0.4) for number in range(5)]


@pytest.fixture
def cutouts(archive, client, tmp_path):
    return Cutouts(Service(client, f"{archive.address}{CUTOUT}"), tmp_path / "cutouts", SIZE)


def of(ra, answer):
    return lambda path, given, usual: answer(usual) if float(given["ra"]) == ra else None


def test_each_is_asked_for_once_with_its_own_scale(archive, cutouts):
    found = cutouts.get(WANTED)
    assert {line.outcome for line in found.values()} == {Outcome.KEPT}
    assert len(archive.asked) == 5 and archive.asked[2] == {
        "ra": "12.0000000", "dec": "1.0000000", "scale": "0.400000", "width": "24", "height": "24",
    }  # fmt: skip
    assert cutouts.get(WANTED) == found
    again = Cutouts(cutouts.images, cutouts.folder, SIZE)
    assert again.get(WANTED) == found and len(archive.asked) == 5


@pytest.mark.parametrize(
    "answer",
    [
        lambda usual: Answer(
            usual.body[: len(usual.body) // 2], "image/jpeg"
        ),  # `verify` passes it (Pillow #6342)
        lambda usual: Answer(b"<html>no</html>", "text/html"),
        lambda usual: Answer(b"<html>no</html>", "image/jpeg"),
        lambda usual: Answer(jpeg(np.zeros((12, 12, 3), np.uint8)), "image/jpeg"),  # clamped (SoFiA #76)
    ],
)
def test_what_is_no_whole_image_of_this_size_is_asked_for_again(answer, archive, cutouts):
    archive.faults = [of(11.0, answer), of(11.0, answer)]
    assert {line.outcome for line in cutouts.get(WANTED).values()} == {Outcome.KEPT}
    assert cutouts.images.client.counts.retries == 2


@pytest.mark.parametrize("level", [0, 200])
def test_a_black_frame_is_no_imaging(level, archive, cutouts):
    """A black JPEG outside of the footprint is no image (marvin #362)."""
    frame = Answer(jpeg(np.full((SIZE, SIZE, 3), level, np.uint8)), "image/jpeg")
    archive.faults = [of(11.0, lambda usual: frame)]
    found = cutouts.get(WANTED)
    assert found["1"].outcome == Outcome.NO_IMAGING and not cutouts.path("1").exists()
    assert sum(line.outcome == Outcome.KEPT for line in found.values()) == 4
    cutouts.get(WANTED)
    assert len(archive.asked) == 5


def test_what_is_refused_is_a_row_with_its_reason(archive, cutouts):
    """A failed download is a row with its reason (mergernet's results of download threads)."""
    archive.faults = [of(13.0, lambda usual: Answer(b"", status=404))]
    line = cutouts.get(WANTED)["3"]
    assert (line.outcome, line.reason) == (Outcome.REFUSED, "status 404")


def test_a_kill_between_image_and_manifest_asks_for_nothing_again(archive, cutouts):
    cutouts.get(WANTED)
    manifest = cutouts.folder / MANIFEST
    lines = manifest.read_text().splitlines(keepends=True)
    manifest.write_text("".join(lines[:3]) + lines[3][:20])  # the fourth cut off, the fifth not written
    again = Cutouts(cutouts.images, cutouts.folder, SIZE)
    assert len(again.lines) == 3
    again.get(WANTED)
    assert len(archive.asked) == 5
    assert [json.loads(line)["id"] for line in manifest.read_text().splitlines()] == [
        str(n) for n in range(5)
    ]


def test_a_damaged_image_that_a_kill_has_left_is_asked_for_again(archive, cutouts):
    cutouts.path("0").write_bytes(b"half")
    cutouts.get(WANTED[:1])
    assert cutouts.path("0").read_bytes()[:2] == b"\xff\xd8" and len(archive.asked) == 1


def test_another_scale_is_another_image(archive, cutouts):
    cutouts.get(WANTED[:1])
    cutouts.get([Wanted("0", 10.0, 1.0, 0.5)])
    assert len(archive.asked) == 2


def test_one_that_fails_is_asked_for_again_by_the_next_call(archive, cutouts):
    archive.faults = [of(12.0, lambda usual: Answer(b"", status=503))] * 6
    with pytest.raises(DataError, match=r"1 of 5 cutouts failed, among them that of 2: .*status 503"):
        cutouts.get(WANTED)
    before = len(archive.asked)
    assert {line.outcome for line in cutouts.get(WANTED).values()} == {Outcome.KEPT}
    assert len(archive.asked) == before + 1


def test_one_that_always_fails_is_named_in_the_end_and_blocks_nothing(archive, cutouts):
    archive.faults = [of(12.0, lambda usual: Answer(b"", status=500))] * 18
    for _ in range(2):
        with pytest.raises(DataError, match="the same command asks again"):
            Cutouts(cutouts.images, cutouts.folder, SIZE).get(WANTED)
    found = Cutouts(cutouts.images, cutouts.folder, SIZE).get(WANTED)
    assert found["2"].outcome == Outcome.FAILED and "status 500" in found["2"].reason


def test_refusals_in_a_row_are_the_services_fault_and_not_kept(archive, cutouts):
    wrong = Cutouts(Service(cutouts.images.client, f"{archive.address}/nowhere"), cutouts.folder, SIZE)
    archive.faults = [lambda path, given, usual: Answer(b"", status=404) if path == "/nowhere" else None] * 5
    with pytest.raises(DataError, match=r"/nowhere: the last 5 cutouts failed, that of 4 with: status 404"):
        wrong.get(WANTED)
    assert {line.outcome for line in cutouts.get(WANTED).values()} == {Outcome.KEPT}


def test_neighbours_that_the_service_does_not_have_block_nothing(archive, cutouts):
    """Ids of one field follow each other, and so do objects without a cutout."""
    wanted = [Wanted(f"{number:02}", 10.0 + number, 1.0, 0.4) for number in range(20)]
    for first in (0, 7):  # before anything is there, and later
        lost = {10.0 + first + number for number in range(6)}
        archive.faults = [
            lambda path, given, usual, lost=lost: (
                Answer(b"", status=404) if float(given["ra"]) in lost else None
            )
        ] * 6
        found = Cutouts(cutouts.images, cutouts.folder / str(first), SIZE).get(wanted)
        outcomes = [line.outcome for line in found.values()]
        assert outcomes.count(Outcome.REFUSED) == 6 and outcomes.count(Outcome.KEPT) == 14
        archive.faults.clear()


def test_a_few_that_the_service_does_not_have_do_not_block_a_later_call(archive, cutouts):
    """Replacements are asked for in small batches, all of which may fail."""
    cutouts.get(WANTED)
    few = [Wanted(f"r{number}", 50.0 + number, 1.0, 0.4) for number in range(5)]
    archive.faults = [
        lambda path, given, usual: Answer(b"", status=404) if float(given["ra"]) >= 50 else None
    ] * 5
    assert {line.outcome for line in cutouts.get(few).values()} == {Outcome.REFUSED}


def test_failures_at_another_scale_do_not_count(archive, cutouts):
    archive.faults = [of(12.0, lambda usual: Answer(b"", status=500))] * 24
    for _ in range(2):
        with pytest.raises(DataError, match="the same command asks again"):
            cutouts.get(WANTED)
    cutouts.get(WANTED)
    with pytest.raises(DataError, match="the same command asks again"):
        cutouts.get([Wanted("2", 12.0, 1.0, 0.5)])


def test_a_coloured_frame_is_no_imaging_either(archive, cutouts):
    blue = np.zeros((SIZE, SIZE, 3), np.uint8)
    blue[..., 2] = 200
    archive.faults = [of(11.0, lambda usual: Answer(jpeg(blue), "image/jpeg"))]
    assert cutouts.get(WANTED)["1"].outcome == Outcome.NO_IMAGING


def test_a_manifest_of_something_else_is_named(cutouts):
    (cutouts.folder / MANIFEST).write_text("hello\n")
    with pytest.raises(DataError, match=r"manifest.jsonl, line 1: this is no line of a manifest"):
        Cutouts(cutouts.images, cutouts.folder, SIZE)
