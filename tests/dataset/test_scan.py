from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from pace import bytes_read, calls
from PIL import Image

from lorakit.dataset.facts import DatasetFacts
from lorakit.dataset.scan import scan
from lorakit.pictures.open import RefusedError
from lorakit.pictures.size import CutError, read_header

Draw = Callable[..., Path]


@pytest.fixture
def draw(tmp_path: Path) -> Draw:
    """Write a small image under the dataset, with a caption unless told otherwise."""

    def write(
        name: str,
        size: tuple[int, int] = (64, 48),
        caption: str | bytes | None = "trig, a fox",
        suffix: str = ".txt",
        **options: object,
    ) -> Path:
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        fmt = {".jpg": "JPEG", ".jpeg": "JPEG"}.get(path.suffix.lower(), path.suffix[1:].upper())
        image = Image.new(str(options.pop("mode", "RGB")), size, 90)
        image.save(
            path, fmt if fmt in {"JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"} else "PNG", **options
        )
        if caption is not None:
            path.with_suffix(suffix).write_bytes(
                caption.encode() if isinstance(caption, str) else caption
            )
        return path

    return write


def root_of(tmp_path: Path) -> Path:
    return tmp_path / "data"


def rules(facts: DatasetFacts) -> list[str]:
    return [fault.rule for fault in facts.faults]


def only(facts: DatasetFacts, rule: str) -> str:
    assert rules(facts) == [rule], facts.faults
    return str(facts.faults[0])


def test_a_clean_dataset_is_read_without_a_word(tmp_path: Path, draw: Draw) -> None:
    draw("20_trig_body/b.jpg", (300, 200))
    draw("10_trig/a.png", (64, 48))
    facts = scan(root_of(tmp_path))
    assert facts.faults == ()
    assert [(s.path.name, s.repeats, s.class_tokens, s.captioned) for s in facts.subsets] == [
        ("10_trig", 10, "trig", 1),
        ("20_trig_body", 20, "trig_body", 1),
    ]
    image = facts.subsets[1].images[0]
    assert (image.width, image.height, image.caption) == (300, 200, "trig, a fox")


@pytest.mark.parametrize(
    ("name", "options", "kind"),
    [
        ("a.png", {}, "png"),
        ("a.jpg", {}, "jpeg"),
        ("a.jpg", {"progressive": True}, "jpeg"),
        ("a.bmp", {}, "bmp"),
        ("a.gif", {"mode": "P"}, "gif"),
        ("a.webp", {}, "webp"),
        ("a.webp", {"lossless": True}, "webp"),
        ("a.tiff", {}, "tiff"),
        ("a.jpg", {"comment": b"x" * 60_000}, "jpeg"),
    ],
)
def test_headers_tell_kind_and_size(
    draw: Draw, name: str, options: dict[str, object], kind: str
) -> None:
    header = read_header(draw(name, (321, 123), **options))
    assert (header.kind, header.width, header.height) == (kind, 321, 123)
    assert header.as_kohya_reads == (321, 123)


def test_a_webp_with_metadata_is_one_pixel_smaller_for_kohya(tmp_path: Path, draw: Draw) -> None:
    draw("10_trig/a.webp", (512, 512), exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0")
    facts = scan(root_of(tmp_path))
    assert "is 512x512, but kohya reads 511x511" in only(facts, "webp-size")
    assert (facts.subsets[0].images[0].width, facts.subsets[0].images[0].height) == (511, 511)


def test_orientation_is_not_applied_because_kohya_does_not(draw: Draw) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert read_header(draw("a.jpg", (64, 32), exif=exif)).width == 64


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xd8\xff\xe0\x00\x10JFIF",
        b"nonsense",
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + b"\0" * 40,
    ],
)
def test_broken_headers_raise_with_a_reason(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(RefusedError, match=r"\w+"):
        read_header(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("10_trig/x.Png", "extension-case"),
        ("10_trig/x.gif", "extension-unsupported"),
        ("10_trig/x.tif", "extension-unsupported"),
        ("10_trig/.x.png", "dot-file"),
        ("10_trig/deep/x.png", "nested"),
        ("x.png", "image-outside"),
        ("noscore/x.png", "folder-name"),
        ("10-x/x.png", "folder-name"),
        ("0_x/x.png", "folder-zero"),
        ("-3_x/x.png", "folder-negative"),
        ("1_0_x/x.png", "folder-odd"),
        ("010_x/x.png", "folder-odd"),
        ("7/x.png", "folder-odd"),
    ],
)
def test_everything_kohya_drops_or_misreads_is_named(
    tmp_path: Path, draw: Draw, name: str, rule: str
) -> None:
    draw("10_trig/good.png")
    draw(name)
    caption = root_of(tmp_path) / Path(name).with_suffix(".txt")
    if caption.parent.name == "10_trig":
        caption.unlink()
    facts = scan(root_of(tmp_path))
    assert Path(name).name.split("/")[0] in only(facts, rule) or Path(name).parts[0] in only(
        facts, rule
    )
    assert sum(len(s.images) for s in facts.subsets) == (2 if rule == "folder-odd" else 1)


def test_lorakits_own_folders_and_empty_ones_are_passed_over(tmp_path: Path, draw: Draw) -> None:
    draw("10_trig/a.png")
    draw("originals/trig/a.Png")
    draw(".lorakit/sheet.png")
    (root_of(tmp_path) / "notes").mkdir()
    assert scan(root_of(tmp_path)).faults == ()


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"", "caption-empty"),
        ("caf\xe9, trig".encode("cp1252"), "caption-encoding"),
        ("trig".encode("utf-16"), "caption-encoding"),
        (b"trig\0, x", "caption-nul"),
        (b"one\ntwo", "caption-lines"),
        (b"a word " * 200_000, "caption-huge"),
        ("é" * 30_000, "caption-huge"),
    ],
)
def test_captions_that_kohya_would_choke_on_or_misread(
    tmp_path: Path, draw: Draw, data: bytes | str, rule: str
) -> None:
    draw("10_trig/a.png", caption=data)
    assert only(scan(root_of(tmp_path)), rule).split(":")[0].endswith("a.txt")


@pytest.mark.parametrize("data", [b"  \n", b"\nsecond line"])
def test_a_caption_whose_first_line_is_blank_is_no_caption(
    tmp_path: Path, draw: Draw, data: bytes
) -> None:
    draw("10_trig/a.png", caption=data)
    assert only(scan(root_of(tmp_path)), "caption-blank").split(":")[0].endswith("a.txt")


def test_a_byte_order_mark_would_be_part_of_the_first_word(tmp_path: Path, draw: Draw) -> None:
    draw("10_trig/a.png", caption=b"\xef\xbb\xbftrig")
    assert only(scan(root_of(tmp_path)), "caption-bom").split(":")[0].endswith("a.txt")


def test_a_missing_caption_says_what_will_be_used(tmp_path: Path, draw: Draw) -> None:
    draw("10_trig/a.png")
    draw("10_trig/b.png", caption=None)
    assert 'b.png: has no .txt caption; it would be trained as "trig".' in only(
        scan(root_of(tmp_path)), "caption-missing"
    )


def test_no_caption_at_all_is_one_warning(tmp_path: Path, draw: Draw) -> None:
    for name in "abc":
        draw(f"10_trig/{name}.png", caption=None)
    facts = scan(root_of(tmp_path))
    assert "all 3" in only(facts, "caption-none")
    assert facts.faults[0].severity == "warning"


def test_reg_images_need_no_captions_and_come_last(tmp_path: Path, draw: Draw) -> None:
    draw("10_trig/a.png")
    draw("../reg/1_woman/r.png", caption=None)
    facts = scan(root_of(tmp_path), reg=tmp_path / "reg")
    assert facts.faults == ()
    assert [s.is_reg for s in facts.subsets] == [False, True]
    assert facts.image_count == 1


def test_captions_nobody_reads_are_named(tmp_path: Path, draw: Draw) -> None:
    draw("10_trig/a.png")
    draw("10_trig/b.png", suffix=".caption")
    (root_of(tmp_path) / "10_trig/lost.txt").write_text("x")
    facts = scan(root_of(tmp_path))
    assert set(rules(facts)) == {"caption-missing", "caption-extension", "caption-orphan"}
    assert "Rename it to b.txt" in " ".join(map(str, facts.faults))
    assert scan(root_of(tmp_path), caption_extension="caption").subsets[0].captioned == 1


def test_two_images_of_one_name_share_a_caption(tmp_path: Path, draw: Draw) -> None:
    draw("10_trig/dup.png")
    draw("10_trig/dup.jpg")
    assert "dup.jpg and dup.png" in only(scan(root_of(tmp_path)), "caption-shared")


def test_the_face_detectors_names_borrow_a_caption(tmp_path: Path, draw: Draw) -> None:
    draw("10_trig/a.png")
    draw("10_trig/a_1_2_3_4.png", caption=None)
    assert "a.txt" in only(scan(root_of(tmp_path)), "caption-fallback")


def test_things_that_are_no_files_do_not_stop_the_others(tmp_path: Path, draw: Draw) -> None:
    draw("10_trig/a.png")
    folder = root_of(tmp_path) / "10_trig"
    (folder / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (folder / "circle.png").symlink_to(folder / "circle.png")
    (folder / "dir.png").mkdir()
    os.mkfifo(folder / "pipe.png")
    (folder / "empty.jpg").write_bytes(b"")
    facts = scan(root_of(tmp_path))
    assert sorted(rules(facts)) == [
        "broken-link",
        "broken-link",
        "header",
        "not-a-file",
        "not-a-file",
    ]
    assert len(facts.subsets[0].images) == 1


def test_a_cache_name_that_fits_another_image_is_refused(tmp_path: Path, draw: Draw) -> None:
    draw("10_trig/1.png").with_name("10_0192x0064_sd.npz").write_bytes(b"")
    assert "192x64" in only(scan(root_of(tmp_path)), "cache-size")


def test_caches_older_than_their_image_are_told(tmp_path: Path, draw: Draw) -> None:
    image = draw("10_trig/1.png")
    image.with_name("1_0064x0048_sd.npz").write_bytes(b"")
    os.utime(image.with_name("1_0064x0048_sd.npz"), (1, 1))
    image.with_name("1_te_outputs.npz").write_bytes(b"")
    assert "older than its image" in only(scan(root_of(tmp_path)), "cache-stale")
    os.utime(image.with_name("1_te_outputs.npz"), (1, 1))
    image.with_name("1.npz").write_bytes(b"")
    assert sorted(rules(scan(root_of(tmp_path)))) == [
        "cache-old-style",
        "cache-stale",
        "cache-stale",
    ]


def test_the_image_folder_given_names_its_parent(tmp_path: Path, draw: Draw) -> None:
    folder = draw("10_trig/a.png").parent
    assert f"Write {folder.parent}" in only(scan(folder), "image-folder-given")
    assert f"Write {folder.parent}" in only(scan(tmp_path), "image-folder-given")
    assert "10_trigger" in only(scan(draw("../flat/a.png").parent), "image-folder-given")


def test_missing_and_empty_datasets_are_errors(tmp_path: Path, draw: Draw) -> None:
    (tmp_path / "maya").mkdir()
    assert "Did you mean maya?" in only(scan(tmp_path / "maja"), "no-folder")
    only(scan(tmp_path / "maya"), "nothing-to-train")
    (tmp_path / "maya/10_x").mkdir()
    assert rules(scan(tmp_path / "maya")) == ["folder-empty", "nothing-to-train"]
    assert rules(scan(tmp_path / "maya", off={"folder-empty"})) == ["nothing-to-train"]


def test_names_that_cannot_be_printed_are_escaped(tmp_path: Path, draw: Draw) -> None:
    draw("10_trig/a.png")
    bad = os.fsencode(str(root_of(tmp_path) / "10_trig")) + b"/new\nline\xff.png"
    with open(bad, "wb") as file:
        file.write(b"")
    line = str(scan(root_of(tmp_path)).faults[0])
    assert "new\\nline\\udcff.png" in line
    line.encode()


def test_a_picture_costs_a_scan_few_function_calls_and_its_first_bytes(
    tmp_path: Path, draw: Draw
) -> None:
    data = draw("10_trig/a.jpg", comment=b"x" * 20_000).read_bytes() + bytes(1_000_000)
    folder = root_of(tmp_path) / "10_trig"
    for index in range(100):
        (folder / f"{index:05}.jpg").write_bytes(data)
        (folder / f"{index:05}.txt").write_text("trig, a fox")
    assert scan(root_of(tmp_path)).image_count == 101
    assert bytes_read(lambda: scan(root_of(tmp_path))) / 101 < 150_000  # of a million; 98,000 today
    assert calls(lambda: scan(root_of(tmp_path))) / 101 < 800  # 566 today


@pytest.mark.parametrize("kind", ["png", "jpg", "webp"])
def test_a_picture_cut_short_behind_a_sound_header_is_known_before_training(
    tmp_path: Path, kind: str
) -> None:
    """sd-scripts would say so after loading the model, or hours later, and not always which file it was."""
    file = tmp_path / f"a.{kind}"
    Image.frombytes("RGB", (64, 64), bytes(range(256)) * 48).save(file, quality=95)
    whole = file.read_bytes()
    file.write_bytes(whole + b"and a note behind it")
    assert read_header(file).width == 64
    file.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(CutError):
        read_header(file)
