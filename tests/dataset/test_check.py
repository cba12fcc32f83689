from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from drawings import drawing
from pace import calls
from PIL import Image, ImageCms, ImageDraw

from lorakit.cli.main import main
from lorakit.dataset.buckets import BucketRules
from lorakit.dataset.check import CheckSettings, check
from lorakit.dataset.check import looks as looks_module
from lorakit.dataset.check.looks import look, look_at
from lorakit.dataset.rules import RULES, known_rules
from lorakit.dataset.scan import scan
from lorakit.errors import Fault, RecipeError
from lorakit.pictures import open as opening

Photo = Callable[..., Path]
CAPTIONS = [
    "full body, standing in a park, morning",
    "close-up, night street, smiling",
    "waist up, wooden desk, reading a book",
    "walking along a beach, windy day",
    "seen from behind, snow, evening sun",
    "running up the stairs, motion, grey sky",
    "portrait, studio, plain wall",
    "cooking in a kitchen, steam, laughing",
    "riding a bicycle, busy road",
    "sitting under a tree, autumn leaves",
    "playing chess, library, lamp",
]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset without fault: eleven different drawings and captions."""
    folder = tmp_path_factory.mktemp("drawn") / "10_qb_fox"
    folder.mkdir()
    for index, caption in enumerate(CAPTIONS):
        drawing(seed=index).save(folder / f"{index:02}.jpg")
        (folder / f"{index:02}.txt").write_text(f"qb_fox, {caption}", encoding="utf-8")
    return folder.parent


@pytest.fixture
def root(tmp_path: Path, drawn: Path) -> Path:
    return Path(shutil.copytree(drawn, tmp_path / "data"))


def found(root: Path, wants: CheckSettings = CheckSettings()) -> list[Fault]:  # noqa: B008  (frozen)
    return list(check(scan(root), wants))


def only(root: Path, rule: str, wants: CheckSettings = CheckSettings()) -> str:  # noqa: B008
    faults = found(root, wants)
    assert [fault.rule for fault in faults] == [rule], faults
    return str(faults[0])


def test_a_good_dataset_passes_without_a_word(root: Path) -> None:
    assert found(root, CheckSettings("qb_fox", BucketRules((512, 512)))) == []


PICTURES: dict[str, Callable[[Path, Photo], object]] = {
    "undecodable": lambda path, photo: path.write_bytes(path.read_bytes()[:9000]),
    "rotated": lambda path, photo: photo(path, seed=3, exif=_exif(6)),
    "grey": lambda path, photo: photo(path, seed=3, mode="L"),
    "colours": lambda path, photo: photo(path, seed=3, mode="CMYK"),
    "icc": lambda path, photo: photo(path, seed=3, icc_profile=_lab_profile()),
    "flat": lambda path, photo: photo(path, image=Image.new("RGB", (640, 480), (120, 130, 140))),
    "near-duplicate": lambda path, photo: photo(path, seed=4, quality=60),
    "duplicate": lambda path, photo: path.write_bytes(path.with_name("04.jpg").read_bytes()),
    "extension-content": lambda path, photo: Image.open(path).copy().save(path, "PNG"),
    "too-small": lambda path, photo: photo(path, (63, 80), seed=3),
    "border": lambda path, photo: photo(path, image=_barred(Image.open(path).copy())),
    "blurry": lambda path, photo: photo(
        path, image=Image.open(path).resize((20, 15)).resize((640, 480))
    ),
    "exposure": lambda path, photo: photo(path, image=Image.open(path).point(lambda v: v // 12)),
}


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def _lab_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


def _barred(image: Image.Image) -> Image.Image:
    ImageDraw.Draw(image).rectangle([0, 0, 640, 40], fill="white")
    return image


@pytest.mark.parametrize("rule", PICTURES)
def test_each_fault_of_a_picture_is_named_with_its_file(
    root: Path, photo: Photo, rule: str
) -> None:
    PICTURES[rule](root / "10_qb_fox/03.jpg", photo)
    faults = found(root)
    others = {"colours": set(), "exposure": {"flat"}, "too-small": {"blurry"}}.get(rule, set())
    assert rule in {fault.rule for fault in faults} <= {rule, *others}, faults
    named = next(fault for fault in faults if fault.rule == rule)
    assert "03.jpg" in str(named) or "04.jpg" in str(named)
    assert found(root, CheckSettings(off=frozenset({rule, *others}))) == []


def test_transparent_animated_and_sixteen_bit_pictures(root: Path, photo: Photo) -> None:
    folder = root / "10_qb_fox"
    for index in (0, 1, 2):
        (folder / f"{index:02}.jpg").unlink()
    photo(folder / "00.png", image=Image.open(folder / "05.jpg").convert("RGBA").rotate(20))
    Image.new("I;16", (640, 480), 30000).save(folder / "01.png")
    frames = [Image.open(folder / f"{index:02}.jpg").resize((320, 240)) for index in (6, 7)]
    frames[0].save(folder / "02.webp", save_all=True, append_images=frames[1:])
    rules = {fault.rule for fault in found(root)}
    assert {"transparent", "colours", "animated", "webp-size"} <= rules


def test_an_alpha_channel_that_hides_nothing_is_no_fault(tmp_path: Path, photo: Photo) -> None:
    assert not look(photo(tmp_path / "a.png", mode="RGBA")).transparent


def test_a_corrupt_profile_and_broken_exif_are_named_not_raised(
    tmp_path: Path, photo: Photo
) -> None:
    assert look(photo(tmp_path / "a.jpg", icc_profile=b"nonsense" * 30)).profile == "corrupt"
    assert look(
        photo(
            tmp_path / "b.jpg",
            exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x63\0\0\0\0\0\0",
        )
    ).odd_exif


def test_what_the_buckets_will_do_is_said(root: Path, photo: Photo) -> None:
    photo(root / "10_qb_fox/03.jpg", (300, 225), seed=3)
    assert "enlarged 1.99 times for its bucket 576x448" in only(
        root, "enlarged", CheckSettings(buckets=BucketRules((512, 512)))
    )
    photo(root / "10_qb_fox/03.jpg", (1600, 1000), seed=3)
    text = only(
        root,
        "cropped",
        CheckSettings(
            off=frozenset({"enlarged"}),
            buckets=BucketRules((512, 512), min=512, max=512, step=8),
            crop_limit=0.3,
        ),
    )
    assert "loses 37% (19% left and right) in its bucket 512x512" in text
    text = only(
        root,
        "unfit",
        CheckSettings(buckets=BucketRules((640, 480), enable=False), exact_size=True, crop_limit=1),
    )
    assert "is 1600x1000, not 640x480" in text


def test_a_shape_unlike_all_others_is_named(root: Path, photo: Photo) -> None:
    photo(root / "10_qb_fox/03.jpg", (300, 900), seed=3)
    assert "03.jpg: is 300x900" in only(root, "aspect")


def test_bombs_are_refused_without_decoding_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: Photo
) -> None:
    monkeypatch.setattr(opening, "MAX_PIXELS", 1000)
    told = look(photo(tmp_path / "a.png"))
    assert told.bomb
    assert "640x480 would take" in told.problem


SAYINGS = {
    "trigger-missing": "full body, a hill, wide meadow",
    "trigger-late": "full body, a hill, qb_fox",
    "caption-same": f"qb_fox, {CAPTIONS[4]}",
    "caption-alike": f"qb_fox, {CAPTIONS[4]} again",
    "caption-structure": "qb_fox is standing somewhere on a wide and green hill while the sun goes down behind them",
    "caption-tokens": "qb_fox, " + ", ".join(f"w{n}" for n in range(35)),
    "face-described": "qb_fox, blue eyes, full lips, a hill",
}


@pytest.mark.parametrize("rule", SAYINGS)
def test_each_fault_of_a_caption_is_named_with_its_file(root: Path, rule: str) -> None:
    (root / "10_qb_fox/03.txt").write_text(SAYINGS[rule])
    faults = [
        fault
        for fault in found(root, CheckSettings("qb_fox"))
        if not (rule == "caption-tokens" and fault.rule == "caption-structure")
    ]
    assert [fault.rule for fault in faults] == [rule]
    assert "03.txt" in faults[0].where or "04.txt" in faults[0].where


def test_looking_and_closed_eyes_are_expressions_not_features(root: Path) -> None:
    (root / "10_qb_fox/03.txt").write_text("qb_fox, eyes closed, open mouth, a hill")
    assert found(root, CheckSettings("qb_fox")) == []


def test_a_trigger_that_clip_knows_as_a_word_is_too_common(root: Path) -> None:
    for path in (root / "10_qb_fox").glob("*.txt"):
        path.write_text(path.read_text().replace("qb_fox", "woman"))
    assert 'the trigger "woman"' in only(root, "trigger-common")
    assert "trigger-common" not in {fault.rule for fault in found(root, CheckSettings("sks"))}


def test_what_always_comes_with_the_trigger_bleeds_into_it(root: Path) -> None:
    for path in (root / "10_qb_fox").glob("*.txt"):
        path.write_text(path.read_text() + ", red jacket")
    assert '"red jacket" is in 11 of 11' in only(root, "bleed", CheckSettings("qb_fox"))


def test_unbalanced_subsets_shots_and_small_sets_are_told(root: Path, photo: Photo) -> None:
    photo(root / "1_qb_fox_extra/x.jpg", seed=77, caption="qb_fox, drawing on paper")
    assert "10 x 11 = 110 of 111 samples per epoch (99%)" in str(
        next(f for f in found(root) if f.rule == "share")
    )
    for index, path in enumerate(sorted((root / "10_qb_fox").glob("*.txt"))):
        path.write_text(f"qb_fox, close-up, {CAPTIONS[index].split(',')[1]}, thing {index}")
    assert "shots" in {fault.rule for fault in found(root)}
    for path in sorted((root / "10_qb_fox").glob("*"))[4:]:
        path.unlink()
    assert "few-images" in {fault.rule for fault in found(root)}


def test_a_second_run_looks_at_nothing_that_has_not_changed(
    root: Path, monkeypatch: pytest.MonkeyPatch, photo: Photo
) -> None:
    paths = sorted((root / "10_qb_fox").glob("*.jpg"))
    first = look_at(root, paths)
    photo(paths[3], seed=99)
    seen: list[Path] = []

    def seeing(path: Path) -> Any:
        seen.append(path)
        return look(path)

    monkeypatch.setattr(looks_module, "look", seeing)
    second = look_at(root, paths)
    assert seen == [paths[3]]
    assert {path: item for path, item in second.items() if path != paths[3]} == {
        path: item for path, item in first.items() if path != paths[3]
    }


def test_a_spoilt_memory_is_forgotten_not_believed(root: Path, own_home: Path) -> None:
    paths = sorted((root / "10_qb_fox").glob("*.jpg"))[:2]
    look_at(root, paths)
    store = next((own_home / ".cache/lorakit/looks").iterdir())
    store.write_text("{" + store.read_text())
    assert not look_at(root, paths)[paths[0]].problem


def test_the_command_folds_many_of_a_kind_and_exits_1_on_errors_only(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["dataset", "check", str(root), "--trigger", "zzqx"]) == 0
    told = capsys.readouterr()
    assert "... and 6 more" in told.out
    assert "0 errors, 11 warnings" in told.err
    (root / "10_qb_fox/00.Png").write_bytes(b"")
    assert main(["dataset", "check", str(root), "--json", "--off", "trigger-missing"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert Counter(item["severity"] for item in data["faults"]) == {"error": 1}
    assert (data["errors"], data["warnings"], data["images"]) == (1, 0, 11)
    assert {item["rule"] for item in data["faults"]} == {"extension-case"}


def test_a_recipe_says_what_is_judged_and_how_strictly(
    root: Path, tmp_path: Path, photo: Photo, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "fox.toml"

    def write(rules: str) -> None:
        recipe.write_text(
            f'preset = "sd15"\nname = "fox"\ntrigger = "qb_fox"\n[model]\nbase = "x.safetensors"\n'
            f'[dataset]\npath = "data"\nrules_off = ["few-images"]\nrules = {rules}\n'
        )

    photo(root / "10_qb_fox/03.jpg", (1000, 530), seed=3)
    write("{ crop_limit = 0.5 }")
    assert main(["dataset", "check", str(recipe), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["faults"] == []
    write("{ crop_limit = 0.001 }")
    assert main(["dataset", "check", str(recipe), "--json"]) == 0
    assert {item["rule"] for item in json.loads(capsys.readouterr().out)["faults"]} == {"cropped"}
    write("{ crop_limt = 0.5 }")
    assert main(["dataset", "check", str(recipe)]) == 1
    assert "Did you mean crop_limit?" in capsys.readouterr().err


def test_an_unknown_rule_names_the_nearest(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dataset", "check", str(root), "--off", "bluury"]) == 1
    assert "Did you mean blurry?" in capsys.readouterr().err
    with pytest.raises(RecipeError):
        known_rules(["nonsense"], "here")


def test_every_rule_says_why_it_matters(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dataset", "check", "--rules"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(RULES)
    assert all(len(rule.why) > 20 for rule in RULES.values())


def test_every_rule_is_raised_somewhere_under_its_own_name() -> None:
    sources = "".join(
        path.read_text(encoding="utf-8")
        for path in Path(looks_module.__file__).parents[1].rglob("*.py")
        if path.name != "rules.py"
    )
    assert [name for name in RULES if f'"{name}"' not in sources] == []


@pytest.mark.slow
def test_an_unchanged_image_costs_a_check_few_function_calls(
    tmp_path: Path, photo: Photo, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(1)
    data = [photo(tmp_path / f"{n}.jpg", (320, 240), seed=n).read_bytes() for n in range(10)]
    for index in range(60):
        path = tmp_path / f"data/10_qb_fox/{index:04}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data[index % 10] + bytes(rng.randrange(256) for _ in range(9)))
        path.with_suffix(".txt").write_text(f"qb_fox, {CAPTIONS[index % 11]}, number {index}")
    main(["dataset", "check", str(tmp_path / "data")])
    assert (
        calls(lambda: main(["dataset", "check", str(tmp_path / "data")])) / 60 < 2_000
    )  # 1,280 today


@pytest.mark.slow
def test_the_pool_outlives_a_worker_that_is_killed(tmp_path: Path) -> None:
    from dies_on_four import die_on_four

    from lorakit.pictures.pool import WorkerDied, spread

    items = [tmp_path / str(n) for n in range(26)]
    results = dict(spread(die_on_four, items))
    assert {path.name for path, result in results.items() if isinstance(result, WorkerDied)} == {
        "4"
    }
    assert sum(result == "fine" for result in results.values()) == 25


def test_many_small_files_are_handed_over_in_batches_and_each_gets_its_own_answer() -> None:
    from lorakit.pictures.pool import spread

    items = list(range(1700))
    assert dict(spread(str, items)) == {item: str(item) for item in items}


def test_a_wants_without_recipe_keeps_size_rules_silent(root: Path, photo: Photo) -> None:
    photo(root / "10_qb_fox/03.jpg", (300, 225), seed=3)
    assert found(root, replace(CheckSettings("qb_fox"))) == []
