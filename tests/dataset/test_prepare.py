from __future__ import annotations

import json
import os
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawings import drawing
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from lorakit.cli.main import main
from lorakit.dataset.buckets import BucketRules, Chooser
from lorakit.dataset.build import contact_sheet
from lorakit.dataset.build.contact_sheet import font_for, redraw_sheets, write_sheets
from lorakit.dataset.build.fit import Settings, plan_fit, render, settings_problems
from lorakit.dataset.build.jobs import jobs_of
from lorakit.dataset.build.manifest import SubsetPlan
from lorakit.dataset.build.originals import add
from lorakit.dataset.build.prepare import PrepareOutcome, prepare
from lorakit.dataset.scan import scan

Photo = Callable[..., Path]
SMALL = BucketRules((256, 256), min=128, max=512)
LETTERBOX = Settings("letterbox", (128, 128))
BUCKET = Settings("bucket", (256, 256), rules=SMALL)


@pytest.fixture
def root(tmp_path: Path, photo: Photo) -> Path:
    """Three originals with captions, just added."""
    for index, size in enumerate([(400, 300), (300, 400), (90, 80)]):
        photo(tmp_path / f"photos/{index}.jpg", size, index, caption=f"qb_fox, number {index}")
    add(tmp_path / "data", SubsetPlan(7, "qb_fox"), [tmp_path / "photos"])
    return tmp_path / "data"


def run(root: Path, wanted: Settings = LETTERBOX, **options: object) -> PrepareOutcome:
    return prepare(root, jobs_of(root, wanted), **options)  # type: ignore[arg-type]


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def size_of(path: Path) -> Any:
    with Image.open(path) as image:
        return image.size


def opened(data: bytes) -> Image.Image:
    return Image.open(BytesIO(data))


def test_a_letterbox_is_pixel_exact_and_never_enlarges(root: Path) -> None:
    run(root)
    images = [pixels(root / f"7_qb_fox/{index}.jpg") for index in range(3)]
    assert {image.shape for image in images} == {(128, 128, 3)}
    small = images[2]
    assert small[2:20].min() > 240  # white above
    assert small[:, 2:17].min() > 240
    assert images[0][20:108].std() > 20
    facts = scan(root)
    assert facts.faults == ()
    assert [image.caption for image in facts.subsets[0].images] == [
        "qb_fox, number 0",
        "qb_fox, number 1",
        "qb_fox, number 2",
    ]


def test_bucket_images_are_exactly_what_kohya_will_use_uncropped(root: Path) -> None:
    run(root, BUCKET)
    chooser = Chooser(SMALL)
    for image in scan(root).subsets[0].images[:2]:
        placement = chooser.choose(image.width, image.height)
        assert placement.bucket == placement.scaled == (image.width, image.height)
    assert scan(root).subsets[0].images[2].width == 90  # kohya would enlarge it: left as it is


@settings(max_examples=60, deadline=None)
@given(
    st.integers(8, 5000),
    st.integers(8, 5000),
    st.sampled_from(["bucket", "letterbox", "crop", "none"]),
    st.tuples(st.integers(8, 1500), st.integers(8, 1500)),
    st.sampled_from(["centre", "top"]),
)
def test_no_fit_enlarges_or_leaves_the_picture(
    width: int, height: int, fit: str, size: tuple[int, int], focus: str
) -> None:
    wanted = Settings(fit, size, focus=focus)  # type: ignore[arg-type]
    geometry = plan_fit((width, height), wanted)
    left, top, right, bottom = geometry.box
    assert 0 <= left < right <= width + 1e-6
    assert 0 <= top < bottom <= height + 1e-6
    assert geometry.scaled[0] <= max(1, right - left + 0.51)
    assert geometry.scaled[1] <= max(1, bottom - top + 0.51)
    assert min(geometry.scaled) >= 1
    if fit == "letterbox":
        assert geometry.canvas == size
    if fit == "crop":
        assert geometry.canvas[0] <= size[0]
        assert geometry.canvas[1] <= size[1]


@pytest.mark.parametrize("fit", ["none", "bucket", "letterbox"])
def test_a_picture_of_the_right_size_comes_out_as_it_was(
    tmp_path: Path, photo: Photo, fit: str
) -> None:
    path = photo(tmp_path / "a.png", (576, 448), 4)
    wanted = Settings(fit, (576, 448), format="png", rules=BucketRules((512, 512), max=1024))  # type: ignore[arg-type]
    assert (np.asarray(opened(render(path, wanted).data)) == pixels(path)).all()


def test_a_face_fills_sixty_per_cent_of_the_crop_and_stays_inside(root: Path) -> None:
    del root
    wanted = Settings("crop", (512, 512), focus="face")
    left, top, right, bottom = plan_fit((3000, 4000), wanted, (1400, 900, 1800, 1500)).box
    assert (right - left, bottom - top) == (1000, 1000)
    assert ((left + right) / 2, (top + bottom) / 2) == (1600, 1200)
    left, top, right, bottom = plan_fit((3000, 4000), wanted, (0, 0, 500, 600)).box
    assert (left, top) == (0, 0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_ends_upright(tmp_path: Path, photo: Photo, orientation: int) -> None:
    upright = Image.new("RGB", (120, 80), "blue")
    upright.paste("red", (0, 0, 60, 40))  # red in the upper left corner
    undo = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]
    stored = upright if undo is None else upright.transpose(Image.Transpose(undo))
    exif = Image.Exif()
    exif[0x0112] = orientation
    done = opened(
        render(
            photo(tmp_path / "a.jpg", image=stored, exif=exif, quality=98), Settings("none")
        ).data
    )
    assert done.size == (120, 80)
    red, blue = (np.asarray(done)[place] for place in ((20, 20), (60, 100)))
    assert red[0] > 200 > 60 > red[2]
    assert blue[2] > 200 > 60 > blue[0]
    assert not done.getexif()


def test_everything_becomes_rgb_without_metadata(tmp_path: Path, photo: Photo) -> None:
    base = drawing((100, 80), 1)
    swapped = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    half = base.convert("RGBA")
    half.putalpha(Image.new("L", base.size, 0))
    files = {
        "cmyk.jpg": photo(tmp_path / "cmyk.jpg", image=base.convert("CMYK")),
        "grey.png": photo(tmp_path / "grey.png", image=base.convert("L")),
        "alpha.png": photo(tmp_path / "alpha.png", image=half),
        "palette.png": photo(tmp_path / "palette.png", image=base.quantize(8), transparency=0),
        "bit.png": photo(tmp_path / "bit.png", image=base.convert("1")),
        "icc.jpg": photo(tmp_path / "icc.jpg", image=base, icc_profile=swapped),
        "la.png": photo(tmp_path / "la.png", image=base.convert("LA")),
        "anim.gif": photo(tmp_path / "anim.gif", image=base, save_all=True, append_images=[half]),
    }
    deep = tmp_path / "deep.png"
    Image.fromarray(np.linspace(0, 65535, 8000).reshape(80, 100).astype(np.uint16)).save(deep)
    for name, path in {**files, "deep.png": deep}.items():
        done = opened(render(path, Settings("none", format="png")).data)
        assert (done.mode, done.size) == ("RGB", (100, 80)), name
        assert not {"icc_profile", "exif", "transparency"} & set(done.info), name
    assert opened(
        render(files["alpha.png"], Settings("none", format="png", background="#204060")).data
    ).getpixel((5, 5)) == (0x20, 0x40, 0x60)
    ramp = np.asarray(opened(render(deep, Settings("none", format="png")).data))[:, :, 0]
    assert (ramp.min(), ramp.max(), int(ramp.mean())) == (
        0,
        255,
        127,
    )  # scaled, not clipped to white


def test_a_wide_gamut_profile_is_converted_not_dropped(tmp_path: Path, photo: Photo) -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    image = Image.new("RGB", (64, 64), (10, 200, 30))
    kept = opened(
        render(
            photo(tmp_path / "a.png", image=image, icc_profile=lab), Settings("none", format="png")
        ).data
    )
    assert kept.getpixel((3, 3)) == (
        10,
        200,
        30,
    )  # a profile of another space is no profile of this picture
    broken = opened(
        render(
            photo(tmp_path / "b.png", image=image, icc_profile=b"x" * 200),
            Settings("none", format="png"),
        ).data
    )
    assert broken.getpixel((3, 3)) == (10, 200, 30)


def test_draft_decoding_is_as_good_as_lanczos_from_the_full_decode(
    tmp_path: Path, photo: Photo
) -> None:
    path = photo(tmp_path / "a.jpg", (2000, 1500), 5, quality=92)
    fast = np.asarray(
        opened(render(path, Settings("letterbox", (512, 384), format="png")).data), dtype=np.float64
    )
    full = np.asarray(
        Image.fromarray(pixels(path)).resize((512, 384), Image.Resampling.LANCZOS), dtype=np.float64
    )
    assert 10 * np.log10(255**2 / np.mean((fast - full) ** 2)) > 38


def test_a_second_run_does_nothing_and_a_third_only_what_changed(root: Path, photo: Photo) -> None:
    assert len(run(root).made) == 3
    stamps = {path: path.stat().st_mtime_ns for path in root.glob("7_qb_fox/*")}
    outcome = run(root)
    assert (len(outcome.made), len(outcome.unchanged)) == (0, 3)
    assert {path: path.stat().st_mtime_ns for path in root.glob("7_qb_fox/*")} == stamps
    photo(root / "originals/qb_fox/1.jpg", (300, 400), 50)
    (root / "7_qb_fox/2.jpg").unlink()
    assert sorted(path.name for path in run(root).made) == ["1.jpg"]
    assert sorted(path.name for path in run(root, again=True).made) == ["2.jpg"]
    assert len(run(root, Settings("letterbox", (96, 96))).made) == 3


def test_a_touched_original_of_the_same_content_is_not_redone(root: Path) -> None:
    run(root)
    (root / "originals/qb_fox/1.jpg").touch()
    assert run(root).made == []


def test_what_a_person_edited_stays_unless_forced(root: Path, photo: Photo) -> None:
    run(root)
    edited = photo(root / "7_qb_fox/1.jpg", (128, 128), 60).read_bytes()
    (root / "7_qb_fox/0.txt").write_text("my own words")
    photo(root / "originals/qb_fox/1.jpg", (300, 400), 50)
    outcome = run(root, Settings("letterbox", (96, 96)))
    assert [fault.where for fault in outcome.kept] == ["7_qb_fox/1.jpg"]
    assert (root / "7_qb_fox/1.jpg").read_bytes() == edited
    assert (root / "7_qb_fox/0.txt").read_text() == "my own words"
    assert len(run(root, Settings("letterbox", (96, 96)), force=True).made) == 1
    assert (root / "7_qb_fox/0.txt").read_text() == "my own words"


def test_a_file_that_lorakit_did_not_make_is_never_replaced(root: Path) -> None:
    (root / "7_qb_fox").mkdir()
    (root / "7_qb_fox/1.jpg").write_bytes(b"somebody's")
    outcome = run(root)
    assert "was not made by lorakit" in outcome.kept[0].what
    assert (root / "7_qb_fox/1.jpg").read_bytes() == b"somebody's"


def test_a_corrected_caption_of_the_original_is_carried_again(root: Path) -> None:
    run(root)
    (root / "originals/qb_fox/1.txt").write_bytes("qb_fox, caf\xe9".encode("cp1252"))
    notes = run(root).notes
    assert (root / "7_qb_fox/1.txt").read_text(encoding="utf-8") == "qb_fox, café\n"
    assert [fault.rule for fault in notes] == ["caption-encoding"]


def test_a_tag_is_written_after_the_trigger(root: Path, tmp_path: Path, photo: Photo) -> None:
    photo(tmp_path / "more/b.jpg", seed=9, caption="qb_fox, full body")
    add(root, SubsetPlan(3, "qb_fox", "realistic_body"), [tmp_path / "more"])
    run(root)
    assert (
        root / "3_qb_fox_realistic_body/b.txt"
    ).read_text() == "qb_fox, realistic_body, full body\n"


def test_another_format_takes_the_place_of_the_old_file(root: Path) -> None:
    run(root)
    run(root, Settings("letterbox", (128, 128), format="png"))
    assert sorted(path.name for path in (root / "7_qb_fox").glob("*[!t]")) == [
        "0.png",
        "1.png",
        "2.png",
    ]
    assert scan(root).faults == ()


def test_a_folder_that_was_given_other_repeats_is_still_the_same_subset(root: Path) -> None:
    run(root)
    (root / "7_qb_fox").rename(root / "20_qb_fox")
    outcome = run(root, Settings("letterbox", (96, 96)))
    assert not (root / "7_qb_fox").exists()
    assert (len(outcome.made), outcome.kept) == (3, [])
    assert run(root, Settings("letterbox", (96, 96))).made == []


def test_a_broken_original_is_named_and_the_others_are_made(root: Path) -> None:
    broken = root / "originals/qb_fox/1.jpg"
    broken.write_bytes(broken.read_bytes()[:2000])
    outcome = run(root)
    assert len(outcome.made) == 2
    assert "1.jpg" in outcome.refused[0].where
    assert not list(root.glob("7_qb_fox/1.*"))
    assert not list(root.glob("7_qb_fox/.*"))


def test_an_original_that_is_gone_is_told_and_its_file_left(root: Path) -> None:
    run(root)
    (root / "originals/qb_fox/1.jpg").unlink()
    assert [fault.where for fault in run(root).notes] == ["7_qb_fox/1.jpg"]
    assert (root / "7_qb_fox/1.jpg").exists()


def test_a_kill_between_journal_and_move_is_no_persons_edit(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(root)
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        run(root, Settings("letterbox", (96, 96)))
    monkeypatch.undo()
    outcome = run(root, Settings("letterbox", (96, 96)))
    assert outcome.kept == []
    assert len(outcome.made) == 3
    assert size_of(root / "7_qb_fox/0.jpg") == (96, 96)


def test_the_sheet_shows_every_image_and_drops_pages_it_no_longer_needs(root: Path) -> None:
    run(root)
    (root / ".lorakit/sheet-02.jpg").write_bytes(b"old")
    pages = write_sheets(root, Chooser(SMALL), ".txt")
    assert [page.name for page in pages] == ["sheet-01.jpg"]
    assert not (root / ".lorakit/sheet-02.jpg").exists()
    assert size_of(pages[0])[0] > 1400


def test_the_sheet_shows_the_captions_that_are_there_now(root: Path) -> None:
    run(root)
    before = write_sheets(root, Chooser(SMALL), ".txt")[0].read_bytes()
    redraw_sheets(root, Chooser(SMALL), ".txt")
    assert (root / ".lorakit/sheet-01.jpg").read_bytes() == before
    words = ["dataset", "caption", str(root), "--add", "night", "--write"]
    assert main(words) == 0
    after = (root / ".lorakit/sheet-01.jpg").read_bytes()
    assert after != before
    assert main(["dataset", "caption", str(root), "--undo"]) == 0
    assert (root / ".lorakit/sheet-01.jpg").read_bytes() != after
    (root / ".lorakit/sheet-01.jpg").unlink()
    redraw_sheets(root, Chooser(SMALL), ".txt")  # nobody asked for one
    assert not (root / ".lorakit/sheet-01.jpg").exists()


def test_words_are_written_in_a_font_that_has_their_letters(monkeypatch: Any) -> None:
    assert font_for("maya at sea", 13).getname()[0] == "Aileron"  # type: ignore[union-attr]
    if "DejaVu Sans" not in {one.getname()[0] for one in contact_sheet._fonts(13)}:  # type: ignore[union-attr]
        pytest.skip("this machine has no other font")
    assert font_for("maya, мая", 13).getname()[0] == "DejaVu Sans"  # type: ignore[union-attr]
    monkeypatch.setattr(contact_sheet, "FONTS", ())  # a machine without fonts: as much as there is
    contact_sheet._fonts.cache_clear()
    assert font_for("maya, мая", 13).getname()[0] == "Aileron"  # type: ignore[union-attr]
    contact_sheet._fonts.cache_clear()


def test_the_command_prepares_a_bare_folder_of_photos(
    tmp_path: Path, photo: Photo, capsys: pytest.CaptureFixture[str]
) -> None:
    photo(tmp_path / "photos/a.png", (300, 200), caption="qb_fox, a")
    words = [
        "dataset",
        "prepare",
        str(tmp_path / "data"),
        "--from",
        str(tmp_path / "photos"),
        "--repeats",
        "5",
        "--trigger",
        "qb_fox",
        "--size",
        "128",
        "--fit",
        "crop",
    ]
    assert main([*words, "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["made"] == ["5_qb_fox/a.jpg"]
    assert not (tmp_path / "data").exists()
    assert main(words) == 0
    assert size_of(tmp_path / "data/5_qb_fox/a.jpg") == (128, 128)
    assert (tmp_path / "data/.lorakit/sheet-01.jpg").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["--background", "nocolour"],
        ["--quality", "0"],
        ["--size", "0"],
        ["--size", "big"],
        ["--focus", "face"],
    ],
)
def test_wrong_settings_are_told_before_anything_is_read(
    root: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["dataset", "prepare", str(root), *words]) == 1
    assert len(capsys.readouterr().err.splitlines()) <= 3


def test_rules_that_kohya_would_refuse_are_refused_here(tmp_path: Path, photo: Photo) -> None:
    from lorakit.pictures import open as opening

    assert settings_problems(Settings("bucket", rules=BucketRules((512, 512), min=1024)))
    assert not settings_problems(Settings("letterbox", rules=BucketRules((512, 512), min=1024)))
    with pytest.raises(opening.RefusedError):
        render(
            photo(tmp_path / "a.png", (20, 400)),
            Settings("bucket", rules=BucketRules((512, 512), no_upscale=True)),
        )
