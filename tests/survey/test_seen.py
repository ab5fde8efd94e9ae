"""The out-of-fold rule: no object gets its p_m from a model that has seen it, under whatever name."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from mergerexp.survey.seen import BY, NO_CALIBRATOR, WHOLE, Objects, SeenObjects

# Six objects of two folds: model 0 trained on 1 and 3, and tests 0, 2 and 5; object 4 is an ancestor's.
SEEN = pd.DataFrame(
    {
        "id_system": "dr7",
        "id": [str(number) for number in range(6)],
        "ra": [10.0, 20.0, 30.0, 359.9999, 40.0, 50.0],
        "dec": [0.0, 0.0, 60.0, 0.0, 0.0, 0.0],
        "width": [60.0] * 6,
        "content": pd.array([100, 101, 102, 103, 104, None], dtype="Int64"),
        "stamp": [200, 201, 202, 203, 204, 205],
        "group": [7, 7, 8, 9, 10, 11],
        "test_fold": [0, 1, 0, 1, -1, 0],
        "part": [0, 2, 3, 1, -1, 0],
        "seen_by_0": [False, True, False, True, True, False],
        "seen_by_1": [True, False, True, False, True, True],
    }
)
ELSEWHERE = Objects(
    "sdss",
    np.array(["77"], dtype=object),
    *(np.array([value]) for value in (100.0, -30.0, np.nan)),
    *(np.array([-1]) for _ in range(3)),
)


def rule(**known: object):
    """Apply the rule to one object of which this is known."""
    changed = {key: value if key == "id_system" else np.array([value]) for key, value in known.items()}
    if "ids" in changed:
        changed["ids"] = changed["ids"].astype(object)
    found = SeenObjects(SEEN, [0, 1]).eligibility(dataclasses.replace(ELSEWHERE, **changed))
    ways = [way for way, is_it in zip(BY, found.matched[0], strict=True) if is_it]
    return found.allowed[0].tolist(), found.part[0].tolist(), ways, bool(found.in_training_set[0])


def test_an_object_that_nobody_has_seen_is_rated_by_all():
    assert rule() == ([True, True], [WHOLE, WHOLE], [], False)


@pytest.mark.parametrize(
    ("known", "way", "allowed", "part"),
    [
        ({"id_system": "dr7", "ids": "0"}, "id", [True, False], [0, WHOLE]),
        ({"ra": 10.0 + 2 / 3600, "dec": 0.0}, "position", [True, False], [0, WHOLE]),
        ({"ra": 0.00005, "dec": 0.0}, "position", [False, True], [WHOLE, 1]),  # across RA 0
        ({"content": 102}, "file", [True, False], [3, WHOLE]),
        ({"stamp": 201}, "stamp", [False, True], [WHOLE, 2]),  # the same picture in another file
        ({"content": 104}, "file", [False, False], [WHOLE, WHOLE]),  # an ancestor's
    ],
)
def test_the_same_object_is_recognised(known, way, allowed, part):
    """CASES: pydl 37 (two ids of one object), desispec 2090 (right ascensions around 0)."""
    assert rule(**known) == (allowed, part, [way], True)


def test_an_equal_id_of_another_system_is_another_object():
    assert rule(ids="0") == ([True, True], [WHOLE, WHOLE], [], False)
    assert rule(group=7) == ([True, True], [WHOLE, WHOLE], [], False)


def test_a_group_is_seen_as_a_whole():
    allowed, part, ways, inside = rule(id_system="dr7", group=7)
    assert (allowed, part, ways, inside) == ([False, False], [0, 2], ["group"], True)


@pytest.mark.parametrize(
    ("arcsec", "width", "is_seen"),
    [
        (41.0, np.nan, True),  # in the corner of the training stamp, whose half diagonal is 42.4"
        (44.0, np.nan, False),
        (84.0, 120.0, True),  # a training object in the corner of the survey's wider stamp
        (86.0, 120.0, False),
        (41.0, 10.0, True),  # the wider one decides
    ],
)
def test_a_neighbour_in_the_stamp_counts_in_both_directions(arcsec, width, is_seen):
    """At a declination of 60 degrees, where a degree of right ascension is half as long."""
    allowed, part, ways, inside = rule(ra=30.0 + 2 * arcsec / 3600, dec=60.0, width=width)
    expected = ([True, False], [3, WHOLE], ["overlap"]) if is_seen else ([True, True], [WHOLE, WHOLE], [])
    assert (allowed, part, ways) == expected
    assert not inside  # it is beside one


def test_no_calibrator_is_left_for_objects_of_two_parts():
    allowed, part, *_ = rule(stamp=200, content=102)
    assert (allowed, part) == ([True, False], [NO_CALIBRATOR, WHOLE])
    assert rule(stamp=200, content=100)[1] == [0, WHOLE]  # one object found twice is of one part


def test_many_objects_at_once_are_judged_each_by_itself():
    many = Objects(
        "dr7",
        np.array(["5", "99", "1"], dtype=object),
        *(np.full(3, np.nan) for _ in range(3)),
        *(np.full(3, -1) for _ in range(3)),
    )
    assert SeenObjects(SEEN, [0, 1]).eligibility(many).allowed.tolist() == [
        [True, False],
        [True, True],
        [False, True],
    ]


def test_positions_that_nobody_knows_match_nothing():
    unknown = SEEN.assign(ra=pd.array([pd.NA] * 6, dtype="Float64"))
    found = SeenObjects(unknown, [0, 1]).eligibility(dataclasses.replace(ELSEWHERE, ra=np.array([10.0])))
    assert found.allowed.all()
