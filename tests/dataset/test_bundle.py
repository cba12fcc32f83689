from __future__ import annotations

import os
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from lorakit.cli.main import main
from lorakit.dataset.share import bundle
from lorakit.errors import RecipeError


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    root = tmp_path / "maya"
    (root / "40_maya").mkdir(parents=True)
    (root / "40_maya" / "ä b.png").write_bytes(b"picture")
    (root / "40_maya" / "ä b.txt").write_text("maya, smiling")
    (root / "40_maya" / "ä b_0064x0064_sd.npz").write_bytes(b"cache")
    (root / "originals").mkdir()
    (root / "originals" / "a.png").write_bytes(b"original")
    return root


def test_the_same_content_gives_the_same_bytes(dataset: Path, tmp_path: Path) -> None:
    bundle.make_bundle(dataset, tmp_path / "1.zip")
    os.utime(dataset / "40_maya" / "ä b.png", (1, 1))
    (dataset / "40_maya" / "ä b.png").chmod(0o600)
    bundle.make_bundle(dataset, tmp_path / "2.zip")
    assert (tmp_path / "1.zip").read_bytes() == (tmp_path / "2.zip").read_bytes()


def test_caches_and_originals_stay_at_home(dataset: Path, tmp_path: Path) -> None:
    manifest = bundle.make_bundle(dataset, tmp_path / "1.zip")
    assert [entry.name for entry in manifest.entries] == ["40_maya/ä b.png", "40_maya/ä b.txt"]
    assert manifest.counts == {"40_maya": {".png": 1, ".txt": 1}}


def test_what_is_unpacked_is_what_was_bundled(dataset: Path, tmp_path: Path) -> None:
    bundle.make_bundle(dataset, tmp_path / "1.zip")
    bundle.unpack(tmp_path / "1.zip", tmp_path / "there")
    assert (tmp_path / "there" / "40_maya" / "ä b.txt").read_text() == "maya, smiling"
    with pytest.raises(RecipeError, match="exists already"):
        bundle.unpack(tmp_path / "1.zip", tmp_path / "there")


def test_one_flipped_bit_is_named_and_nothing_is_unpacked(dataset: Path, tmp_path: Path) -> None:
    path = tmp_path / "1.zip"
    bundle.make_bundle(dataset, path)
    path.write_bytes(path.read_bytes().replace(b"picture", b"pictuse"))
    with pytest.raises(RecipeError, match=r"ä b\.png.*not those that were bundled"):
        bundle.unpack(path, tmp_path / "there")
    assert not (tmp_path / "there").exists()


@pytest.mark.parametrize("size", [0, 10, 200])
def test_a_cut_transfer_is_told_as_one(dataset: Path, tmp_path: Path, size: int) -> None:
    bundle.make_bundle(dataset, tmp_path / "1.zip")
    (tmp_path / "cut.zip").write_bytes((tmp_path / "1.zip").read_bytes()[:size])
    with pytest.raises(RecipeError, match="not a complete zip"):
        bundle.verify(tmp_path / "cut.zip")


def altered(
    source: Path,
    target: Path,
    name: str,
    data: bytes,
    *,
    deflated: bool = False,
    mode: int = 0o100644,
) -> Path:
    target.write_bytes(source.read_bytes())
    with zipfile.ZipFile(target, "a") as file:
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        info.compress_type = zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
        file.writestr(info, data)
    return target


@pytest.mark.parametrize(
    ("name", "options", "rule"),
    [
        ("../evil.txt", {}, "bundle-escape"),
        ("/etc/evil", {}, "bundle-escape"),
        ("C:\\evil", {}, "bundle-escape"),
        ("40_maya/link.png", {"mode": 0o120777}, "bundle-link"),
        ("40_maya/bomb.png", {"deflated": True}, "bundle-bomb"),
        ("40_MAYA/Ä B.png", {}, "bundle-twice"),
        ("40_maya/extra.png", {}, "bundle-extra"),
    ],
)
def test_a_hostile_entry_is_refused_by_its_own_rule(
    dataset: Path, tmp_path: Path, name: str, options: dict[str, Any], rule: str
) -> None:
    bundle.make_bundle(dataset, tmp_path / "1.zip")
    _, faults = bundle.verify(
        altered(tmp_path / "1.zip", tmp_path / "2.zip", name, b"x" * 100, **options)
    )
    assert rule in {fault.rule for fault in faults}


def test_a_bundle_made_elsewhere_has_no_manifest_and_says_so(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr("a.png", b"x")
    with pytest.raises(RecipeError, match=r"no usable manifest\.json"):
        bundle.verify(tmp_path / "x.zip")


def test_an_empty_folder_has_nothing_to_bundle(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="nothing to bundle"):
        bundle.make_bundle(tmp_path, tmp_path / "1.zip")


def test_originals_alone_are_no_bundle(tmp_path: Path) -> None:
    (tmp_path / "originals" / "maya").mkdir(parents=True)
    (tmp_path / "selection.json").write_text("{}", encoding="utf-8")
    with pytest.raises(RecipeError, match="nothing to bundle") as caught:
        bundle.make_bundle(tmp_path, tmp_path / "1.zip")
    assert "lorakit dataset prepare" in str(caught.value)


def test_a_bundle_can_be_read_by_whoever_uploads_it(dataset: Path, tmp_path: Path) -> None:
    bundle.make_bundle(dataset, tmp_path / "1.zip")
    assert (tmp_path / "1.zip").stat().st_mode & 0o777 == 0o644


def test_what_links_lead_to_is_bundled_once_for_each_link_and_a_loop_ends(
    dataset: Path, tmp_path: Path
) -> None:
    (dataset / "5_maya").symlink_to(dataset / "40_maya")
    (dataset / "40_maya/back").symlink_to(dataset)
    names = [entry.name for entry in bundle.make_bundle(dataset, tmp_path / "1.zip").entries]
    assert names == ["40_maya/ä b.png", "40_maya/ä b.txt", "5_maya/ä b.png", "5_maya/ä b.txt"]


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("manifest.json", "bundle-twice"),
        ("40_maya/Ä B.PNG", "bundle-twice"),
        ("40_maya/a\u0308 b.png", "bundle-twice"),
        ("a:b.png", "bundle-escape"),
        (os.fsdecode(b"caf\xe9.png"), "bundle-name"),
    ],
)
def test_a_name_that_could_not_be_unpacked_elsewhere_is_refused_before_a_byte_is_written(
    dataset: Path, tmp_path: Path, name: str, rule: str
) -> None:
    (dataset / name).write_bytes(b"x")
    with pytest.raises(RecipeError) as caught:
        bundle.make_bundle(dataset, tmp_path / "1.zip")
    assert {fault.rule for fault in caught.value.faults} == {rule}
    assert not (tmp_path / "1.zip").exists()


def test_a_compressed_manifest_is_not_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("manifest.json", b" " * 1000)
    with pytest.raises(RecipeError, match="compressed"):
        bundle.verify(tmp_path / "x.zip")


def test_entries_bear_no_clock_and_plain_permissions_and_folders_are_made(
    dataset: Path, tmp_path: Path
) -> None:
    out = tmp_path / "new/folder/1.zip"
    bundle.make_bundle(dataset, out)
    with zipfile.ZipFile(out) as file:
        assert {(info.date_time, info.external_attr >> 16) for info in file.infolist()} == {
            ((1980, 1, 1, 0, 0, 0), 0o100644)
        }
    bundle.unpack(out, tmp_path / "there")
    assert (tmp_path / "there").stat().st_mode & 0o777 == 0o755


@pytest.fixture
def recipe(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In a project of its own, with a preset of its own."""
    project = dataset.parent
    monkeypatch.chdir(project)
    (project / "presets").mkdir()
    (project / "presets" / "mine.toml").write_text(
        'extends = "sd15"\n[about]\ntitle = "x"\n[train]\nnetwork_dim = 8\n'
    )
    (project / "recipes").mkdir()
    file = project / "recipes" / "maya.toml"
    file.write_text(
        'preset = "mine"\nname = "maya"\ntrigger = "maya"\n[dataset]\npath = "maya"\n'
        '[subject]\nsource = "photos of mine"\nlicence = "all rights reserved"\n'
        "real_person = true\n"
    )
    file.with_name("maya.lock.toml").write_text("version = 1\n")
    return file


def test_recipe_lock_presets_and_a_script_go_along_and_are_put_in_place_there(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["dataset", "bundle", str(recipe), "--out", "maya.zip"]) == 0
    told = capsys.readouterr().err
    assert "come from: photos of mine, all rights reserved. They show a real person." in told
    there = tmp_path / "elsewhere"
    words = ["dataset", "bundle", "verify", "maya.zip", "--unpack", str(there / "datasets/maya")]
    assert main(words) == 0
    assert "project/start.sh puts the recipe in place" in capsys.readouterr().err
    tools = there / "bin"
    tools.mkdir()
    (tools / "lorakit").write_text('#!/bin/sh\necho "$@"\n')
    (tools / "lorakit").chmod(0o755)
    (there / "recipes").mkdir()
    start = there / "datasets" / "maya" / "project" / "start.sh"
    env = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}
    said = subprocess.check_output(["sh", str(start)], env=env, text=True)
    assert said == "plan recipes/maya.toml --set=dataset.path=datasets/maya\n"
    files = {path.relative_to(there).as_posix() for path in there.glob("[rp]*/*")}
    assert files == {
        *("recipes/maya.toml", "recipes/maya.lock.toml"),
        *("presets/mine.toml", "presets/sd15.toml"),
    }
    assert (there / "recipes" / "maya.toml").read_text() == recipe.read_text()
    (there / "recipes" / "maya.toml").write_text("# mine by now\n")
    subprocess.check_call(["sh", str(start)], env=env, stdout=subprocess.DEVNULL)
    assert (there / "recipes" / "maya.toml").read_text() == "# mine by now\n"


def test_for_a_machine_with_a_web_page_alone_there_are_three_lines_to_paste(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["dataset", "bundle", str(recipe), "--out", "my maya.zip", "--for-pod"]) == 0
    lines = capsys.readouterr().out.splitlines()[-3:]
    set_up, verify, train = lines
    assert "source/.venv/bin" in set_up
    assert verify == (
        "lorakit dataset bundle verify 'my maya.zip' --unpack datasets/maya"
        " && sh datasets/maya/project/start.sh"
    )
    assert "train recipes/maya.toml --set=dataset.path=datasets/maya" in train
    assert subprocess.run(["sh", "-n"], input="\n".join(lines), text=True).returncode == 0


def test_private_values_stay_at_home_and_so_does_their_recipe(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe.write_text(recipe.read_text() + '[launch]\nenv = { TOKEN = "s3cret" }\n')
    assert main(["dataset", "bundle", str(recipe), "--out", "maya.zip"]) == 0
    assert "The recipe stays here" in capsys.readouterr().err
    assert b"s3cret" not in Path("maya.zip").read_bytes()


def test_it_says_aloud_how_many_pictures_have_a_caption(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "maya" / "10_maya"
    folder.mkdir(parents=True)
    for name in ("a.png", "b.jpg"):
        (folder / name).write_bytes(b"a picture")
    assert (
        main(["dataset", "bundle", str(tmp_path / "maya"), "--out", str(tmp_path / "m.zip")]) == 0
    )
    assert "2 pictures, 0 captions." in capsys.readouterr().err
    (folder / "a.txt").write_text("maya")
    assert (
        main(["dataset", "bundle", str(tmp_path / "maya"), "--out", str(tmp_path / "n.zip")]) == 0
    )
    assert "2 pictures, 1 caption." in capsys.readouterr().err
