"""What is not ours reaches the terminal in print, never as a command to it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lorakit.cli.main import main
from lorakit.cli.terminal.screen import PlainLines, json_line, sentence
from lorakit.events import Event
from lorakit.show import harmless, print_json, print_text, say

EVIL = "a\x1b[2Jb\x9b31mc\x07d\x00e\rf\u202eg"
TOLD = "a\\x1b[2Jb\\x9b31mc\\x07d\\x00e\\rf\\u202eg"


def raw(text: str) -> set[str]:
    return {one for one in text if (ord(one) < 32 and one not in "\n\t") or one in "\x7f\x9b\u202e"}


def test_control_characters_are_spelt_out_and_ours_stay() -> None:
    assert harmless(EVIL) == TOLD
    assert (
        harmless("ä\t\u3000日本\U0001f469\u200d\U0001f680\n")
        == "ä\t\u3000日本\U0001f469\u200d\U0001f680\n"
    )


def test_every_door_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    say(EVIL)
    print_text(EVIL, 5)
    PlainLines()(Event("note", text=EVIL))
    out = capsys.readouterr()
    assert out.err == f"{TOLD}\n{TOLD}\n"
    assert out.out == f"{TOLD} 5\n"
    assert sentence(Event("warning", text=EVIL)) == f"warning: {TOLD}"


def test_json_stays_json_and_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": EVIL})
    json_line(Event("note", text=EVIL))
    text = capsys.readouterr().out
    assert not raw(text)
    first, end = json.JSONDecoder().raw_decode(text)
    assert (first, json.loads(text[end:])["text"]) == ({"a": EVIL}, EVIL)


@pytest.mark.parametrize("command", ["plan", "dataset caption", "dataset check", "dataset stats"])
def test_a_recipe_and_a_caption_command_no_terminal(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from drawings import drawing

    monkeypatch.chdir(tmp_path)
    home = tmp_path / "ds" / "5_zwx"
    home.mkdir(parents=True)
    for number in range(3):
        drawing((300, 300), number).save(home / f"{number}.png")
        (home / f"{number}.txt").write_text(f"zwx, {EVIL}", newline="")
    evil = json.dumps(EVIL)
    Path("r.toml").write_text(
        f'preset = "sd15"\nname = "zwx"\ntrigger = {evil}\n[dataset]\npath = "ds"\n'
        f"[train]\n{evil} = 1\noutput_name = {evil}\n[sample]\nprompts = [{evil}]\n"
    )
    more = ["--add", EVIL] if command == "dataset caption" else []
    main([*command.split(), "r.toml" if command == "plan" else "ds", *more])
    told = "".join(capsys.readouterr())
    assert told
    assert not raw(told), sorted(raw(told))


def test_a_log_is_shown_without_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "runs" / "fox" / "20260101-120000"
    run.mkdir(parents=True)
    (run / "record.json").write_text('{"schema": 1, "name": "fox"}')
    (run / "log.txt").write_bytes(b"step\x1b]0;title\x07 \x1b[31mred\x1b[0m\n")
    monkeypatch.chdir(tmp_path)
    assert main(["log", str(run)]) == 0
    told = capsys.readouterr().out
    assert "step" in told
    assert not raw(told)


@pytest.mark.parametrize(
    "words",
    [["plan", "r.toml", f"--{EVIL}"], ["queue", EVIL], ["presets", "show", "sdxl", EVIL], [EVIL]],
)
def test_what_was_typed_is_repeated_without_commands(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code: object = main(words)
    except SystemExit as stopped:
        code = stopped.code
    told = "".join(capsys.readouterr())
    assert (code, raw(told)) == (2, set())
    assert "x1b[2Jb" in told
