"""tools/check_imports.py counts what became of a folder of configs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

import check_imports


def test_every_file_is_counted_with_what_became_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "good.toml").write_text("network_dim = 4\nmade_up = 1\n", encoding="utf-8")
    (tmp_path / "other.toml").write_text("[tool]\nx = 1\n", encoding="utf-8")
    (tmp_path / "alien.json").write_text(
        '{"training_method": "LORA", "model_type": "SANA", "seed": 1}', encoding="utf-8"
    )
    assert check_imports.main([str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["reported", "imported", "refused"]
    assert "2 values, 1 kept, 0 translated, 1 dropped" in lines[1]
    assert lines[-1] == "1 reported, 1 imported, 1 refused"


def test_a_value_without_an_answer_is_a_broken_import(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "good.toml").write_text("network_dim = 4\n", encoding="utf-8")
    monkeypatch.setattr(check_imports, "values_of", lambda _: {"network_dim", "forgotten"})
    assert check_imports.main([str(tmp_path)]) == 1
    assert "broken    good.toml: no answer for forgotten" in capsys.readouterr().out
