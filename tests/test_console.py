"""What reaches the terminal: names cannot command it, and progress is shown as a bar or as log lines."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
import warnings

import pytest
from rich.table import Table

import mergerexp.console
import mergerexp.train
from mergerexp.config.app import one_line_errors
from mergerexp.console import ConsoleHandler, ProgressReport, amount, make_console, set_up_logging
from mergerexp.errors import DataError, visible
from mergerexp.frames import safe_csv_text

NASTY = "a\x1b[2Jb\u202ec\u200bd\x9be\x07f\udcff[red]g"
SHOWN = r"a\x1b[2Jb\u202ec\u200bd\x9be\x07f\udcff[red]g"


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What is printed on our console, which is no terminal here."""
    console = make_console()
    console.file = io.StringIO()
    monkeypatch.setattr(mergerexp.console, "console", console)
    return console.file


def record(message: str, *arguments: object, level: int = logging.INFO) -> logging.LogRecord:
    return logging.LogRecord("mergerexp.test", level, "test.py", 1, message, arguments, None)


def test_what_a_terminal_would_obey_is_shown_escaped():
    assert visible(NASTY) == SHOWN
    assert visible("two\nlines\tand\u2028more") == r"two\nlines\tand\u2028more"
    assert visible("Größe 5′, 日本, 0.5 ± 0.1, 1\u202f000") == "Größe 5′, 日本, 0.5 ± 0.1, 1\u202f000"


def test_log_lines_show_names_escaped(shown):
    ConsoleHandler().emit(record("%s: unusable", NASTY))
    assert shown.getvalue()[9:] == f"{SHOWN}: unusable\n"


def test_a_name_with_a_line_break_is_no_log_line_of_its_own(shown):
    ConsoleHandler().emit(record("%s: unusable", "a\n12:00:00 all is well"))
    lines = shown.getvalue().splitlines()
    assert [line[:9].strip() != "" for line in lines] == [True, False]


def test_tables_show_names_escaped(shown):
    table = Table(NASTY, title=NASTY)
    table.add_row(NASTY)
    mergerexp.console.console.print(table)
    assert shown.getvalue().count(SHOWN) == 3


@pytest.mark.parametrize("kind", [DataError, OSError, ValueError])
def test_errors_show_names_escaped(kind, capsys):
    with pytest.raises(SystemExit), one_line_errors():
        raise kind(f"{NASTY} can't be used")
    assert capsys.readouterr().err.startswith(f"error: {SHOWN} can't be used\n")


def test_a_long_line_is_not_broken(shown):
    ConsoleHandler().emit(record("x" * 500))
    assert len(shown.getvalue().splitlines()) == 1


def test_progress_is_logged_where_there_is_no_terminal(shown, monkeypatch, caplog):
    monkeypatch.setattr(mergerexp.console, "LOG_EVERY_S", 0.0)
    monkeypatch.setattr(mergerexp.console, "REFRESH_S", 0.0)
    with caplog.at_level(logging.INFO, "mergerexp"), ProgressReport("making", 10, done=4) as report:
        report.advance(1, "fast")
    assert "making: 5 of 10, fast, about" in caplog.text
    with ProgressReport("hidden", 10, enabled=False) as report:
        report.advance(1)
    assert "hidden" not in caplog.text


def test_numbers_have_their_nouns():
    assert [amount(n, "run") for n in (0, 1, 2)] == ["0 runs", "1 run", "2 runs"]


def test_no_cell_of_a_csv_is_a_formula():
    formulas = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"]
    assert [safe_csv_text(text) for text in formulas] == [f"'{text}" for text in formulas]
    assert safe_csv_text("merger/1=2.png") == "merger/1=2.png"
    assert safe_csv_text("") == ""


def test_a_name_that_is_not_utf8_can_be_printed(capfdbinary):
    with pytest.raises(SystemExit), one_line_errors():
        raise DataError(f"{os.fsdecode(b'a' + bytes([255]))}: no image")
    assert capfdbinary.readouterr().err == b"error: a\\udcff: no image\n"


def test_no_codes_of_colours_where_no_terminal_is():
    """Jupyter sets FORCE_COLOR for the programs that it starts, and shows what they print as it is."""
    script = "from mergerexp.console import console; console.print('red', style='red')"
    environment = {**os.environ, "FORCE_COLOR": "1", "CLICOLOR_FORCE": "1", "TERM": "xterm-color"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert (done.stderr, done.returncode) == ("red\n", 0)


@pytest.mark.parametrize("flags", [["--cfg", "job"], ["--help"], ["--info", "config"]], ids=" ".join)
def test_a_config_that_is_shown_cannot_command_the_terminal(flags, run_verb, capsys):
    override = 'tracking.experiment="a\u202e\x1b[31mb"'
    run_verb(mergerexp.train, *flags, override)
    shown = capsys.readouterr().out
    assert "experiment" in shown
    assert not any(mark in shown for mark in "\u202e\x1b")


def test_warnings_of_other_packages_are_one_line_without_commands(monkeypatch):
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    set_up_logging()
    shown = warnings.formatwarning(UserWarning(f"no folder\n {NASTY}"), UserWarning, "x.py", 1)
    (line,) = shown.splitlines()
    assert line.startswith(f"UserWarning: no folder {SHOWN} (")
