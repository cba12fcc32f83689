"""`lorakit presets`: a table for people, JSON for programs, the page itself, and a copy that never overwrites."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lorakit.cli.main import main
from lorakit.recipe import presets
from lorakit.show import CONTROL


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_table_has_every_preset_with_family_machine_and_title(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["presets"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert rows[0].split() == ["name", "family", "machine", "title"]
    assert len(rows) == 1 + len(presets.names())


def test_json_is_one_document(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["presets", "--json"]) == 0
    pages = {page["name"]: page for page in json.loads(capsys.readouterr().out)}
    assert pages["sdxl-12gb"]["extends"] == "sdxl"
    assert pages["sdxl-12gb"]["family"] == "sdxl"
    assert pages["flux"]["origin"]


def test_show_prints_the_page_with_its_comments(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["presets", "show", "sd15-mps"]) == 0
    assert capsys.readouterr().out == presets.read("sd15-mps").text


def test_show_resolved_names_the_page_behind_each_value(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["presets", "show", "sd15-mps-fast", "--resolved"]) == 0
    out = capsys.readouterr().out
    assert [
        row
        for row in out.splitlines()
        if "network_train_unet_only" in row and row.endswith("preset sd15-mps-fast")
    ]
    assert [
        row
        for row in out.splitlines()
        if "max_train_steps" in row and row.endswith("preset sd15-mps")
    ]
    assert "text_encoder_lr" not in out


@pytest.mark.parametrize(
    "argv", [["presets", "show", "sdxl", "--json"], ["presets", "--json", "show", "sdxl"]]
)
def test_show_speaks_json_wherever_the_flag_stands(
    argv: list[str], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 0
    page = json.loads(capsys.readouterr().out)
    assert page["train"]["network_dim"] == {"value": 32, "source": "preset sdxl"}


def test_an_unknown_name_gets_the_nearest(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["presets", "show", "sdxl-12g"]) == 1
    assert "Did you mean sdxl-12gb?" in capsys.readouterr().err


def test_copy_writes_the_page_and_never_overwrites(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["presets", "copy", "sdxl"]) == 0
    copied = project / "presets" / "sdxl.toml"
    assert copied.read_text(encoding="utf-8") == presets.read("sdxl").text
    copied.write_text("mine", encoding="utf-8")
    assert main(["presets", "copy", "sdxl"]) == 1
    assert copied.read_text(encoding="utf-8") == "mine"
    assert "is there already" in capsys.readouterr().err


def test_copy_goes_where_it_is_sent(project: Path) -> None:
    assert main(["presets", "copy", "flux", "--to", "elsewhere"]) == 0
    assert (project / "elsewhere" / "flux.toml").is_file()


def test_a_projects_own_page_is_marked_in_the_table(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["presets", "copy", "sdxl"])
    assert main(["presets"]) == 0
    assert [row for row in capsys.readouterr().out.splitlines() if row.startswith("sdxl *")]


def test_one_page_that_cannot_be_read_hides_no_other(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "presets").mkdir()
    (project / "presets" / "bad.toml").write_text("x = !\n", encoding="utf-8")
    assert main(["presets", "--json"]) == 1
    said = capsys.readouterr()
    assert len(json.loads(said.out)) == len(presets.names())
    assert "presets/bad.toml:1" in said.err
    assert main(["presets"]) == 1


@pytest.mark.parametrize(
    ("device", "there", "absent"),
    [
        ("12GB", {"sd15", "sdxl-12gb", "flux-8gb"}, {"flux"}),
        ("rtx3060", {"sd15", "sdxl-12gb", "flux-8gb"}, {"flux"}),
        ("rtx4090", {"sd15", "sdxl", "flux"}, set()),
        ("8", {"sd15"}, {"sdxl", "flux"}),
    ],
)
def test_what_exists_for_a_memory_is_listed_by_need_with_the_figures_source(
    project: Path,
    capsys: pytest.CaptureFixture[str],
    device: str,
    there: set[str],
    absent: set[str],
) -> None:
    assert main(["presets", "--fits", device]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert rows[0].split()[:3] == ["name", "family", "memory"]
    names = [row.split()[0] for row in rows[1:] if row[:1].isalpha()]
    assert there <= set(names)
    assert not absent & set(names)
    assert any("measured on an H100" in row for row in rows) or device == "8"


def test_the_list_for_a_memory_is_sorted_and_is_json_too(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["presets", "--json", "--fits", "rtx4090"]) == 0
    pages = json.loads(capsys.readouterr().out)
    needs = [page["verdict"]["high"] for page in pages]
    assert needs == sorted(needs)
    assert {page["verdict"]["word"] for page in pages} <= {"fits", "may fit"}


def test_where_nothing_fits_that_is_said(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["presets", "--fits", "1GB"]) == 1
    assert "No preset fits 1.0 GB" in capsys.readouterr().err


def test_copy_leaves_a_link_that_leads_nowhere_yet(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copied = project / "presets" / "sdxl.toml"
    copied.parent.mkdir()
    copied.symlink_to(project / "on a disk that is not mounted")
    assert main(["presets", "copy", "sdxl"]) == 1
    assert copied.is_symlink()
    assert "is there already" in capsys.readouterr().err


def test_a_page_of_somebody_elses_commands_no_terminal(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = project / "presets" / "odd.toml"
    page.parent.mkdir()
    text = '[about]\nfamily = "sdxl"\ntitle = "\x9b2J\u202e"  # \x9b31m\n'
    page.write_text(text, encoding="utf-8")
    for words in (["show", "odd"], ["show", "odd", "--json"], [], ["--fits", "24GB"]):
        assert main(["presets", *words]) == 0
        said = capsys.readouterr()
        assert not CONTROL.search(said.out + said.err)
