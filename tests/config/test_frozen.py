"""A frozen config is read as it was written."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from mergerexp.config.frozen import write_frozen
from mergerexp.seals import check_signed

TEXTS = [
    "1e3", "+.5e-3", ".5", "1_000", "0x1f", "-", "12:30", "2026-11-29", ".inf", "nan", "true", "no", "null",
    "~", "", " spaces ", "a: b", "a # b", "${not.resolved}", "'quoted'", '"double"', "\\", "{x}", "[1]",
    "*star", "&and", "!tag", "%per", "@at", "Größe 😀", "x" * 300, "/a path/with spaces", "---",
]  # fmt: skip
OTHERS = [0, -7, 10**18, 1.0, 1e-5, -2.5e300, 0.1, float("inf"), True, False, None, [], {}, [1.0, "2", None]]


@pytest.mark.parametrize("value", [*TEXTS, *OTHERS], ids=repr)
def test_values_come_back_with_their_types(tmp_path, value):
    write_frozen(tmp_path / "config.yaml", {"own": value, "below": {"again": value, "list": [value]}})
    check_signed(tmp_path / "config.yaml")
    read = OmegaConf.to_container(OmegaConf.load(tmp_path / "config.yaml"), resolve=False)
    assert read == {"own": value, "below": {"again": value, "list": [value]}}
    assert type(read["own"]) is type(value)
