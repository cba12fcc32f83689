"""Sheets from a run folder: what is chosen, where pictures land, what is drawn again, what happens without torch."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from lorakit.cli.main import main
from lorakit.errors import LorakitError, RecipeError, SetupError
from lorakit.sheet.grid import Column, Sheet, draw_grid
from lorakit.sheet.make import (
    Choice,
    choose,
    columns_of,
    lay_out,
    make_sheet,
    rows_of,
    sheet_from_samples,
)
from lorakit.sheet.source import checkpoint_file, read_source
from lorakit.weights.safetensors import write

NAMES = ("maya-000010", "maya-000002", "maya", "maya-step00000250", "other-000001", "maya-old")


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "maya" / "20260101-120000"
    (folder / "output" / "sample").mkdir(parents=True)
    (folder / "train.toml").write_text(
        'pretrained_model_name_or_path = "/m/base.safetensors"\noutput_name = "maya"\nresolution = "96,64"\nnetwork_module = "networks.lora"\n'
    )
    (folder / "prompts.toml").write_text(
        '[prompt]\n[[prompt.subset]]\nprompt = "maya, portrait"\nsample_steps = 20\nscale = 5.0\nseed = 7\n[[prompt.subset]]\nprompt = "a red car"\n'
    )
    (folder / "record.json").write_text('{"schema": 1, "family": "sd15"}')
    for byte, name in enumerate(NAMES):
        lora(folder / "output" / f"{name}.safetensors", byte)
    return folder


def picture(path: Path, colour: str, size: tuple[int, int] = (96, 64)) -> Path:
    Image.new("RGB", size, colour).save(path)
    return path


def painter(folder: Path, colour: str = "red") -> str:
    """A Python that draws every picture of the order in one colour, and counts how often it was started."""
    program = folder / "painter"
    program.write_text(f"""#!/usr/bin/env python3
import json, sys
from pathlib import Path
order = json.loads(Path(sys.argv[3]).read_text())
with open({str(folder / "started")!r}, "a") as log:
    log.write("x")
for column in order["columns"]:
    for job in column["pictures"]:
        if not Path(job["file"]).exists():
            Path(job["file"]).write_bytes(Path({str(picture(folder / "ink.png", colour))!r}).read_bytes())
""")
    program.chmod(0o755)
    return str(program)


def test_checkpoints_come_in_the_order_of_the_training_and_only_of_this_run(run_dir: Path) -> None:
    assert [point.label for point in read_source(run_dir).checkpoints] == [
        "epoch 2",
        "epoch 10",
        "step 250",
        "final",
    ]


def test_prompts_keep_what_they_say_and_take_the_rest_from_the_training(run_dir: Path) -> None:
    first, second = read_source(run_dir).rows
    assert (first.steps, first.scale, first.width, first.height) == (20, 5.0, 96, 64)
    assert (second.prompt, second.steps, second.scale) == ("a red car", 30, 7.5)
    assert read_source(run_dir).seed == 7


def test_flux_is_drawn_by_its_guidance(run_dir: Path) -> None:
    (run_dir / "record.json").write_text('{"schema": 1, "family": "flux"}')
    (run_dir / "prompts.toml").write_text(
        '[[prompt.subset]]\nprompt = "maya"\nscale = 1.0\nguidance_scale = 4.0\n[[prompt.subset]]\nprompt = "b"\n'
    )
    assert [(row.steps, row.scale) for row in read_source(run_dir).rows] == [(20, 4.0), (20, 3.5)]


@pytest.mark.parametrize(
    ("wish", "labels"),
    [
        ("all", ["epoch 2", "epoch 10", "step 250", "final"]),
        ("last", ["final"]),
        ("last:2", ["step 250", "final"]),
        ("final,2", ["epoch 2", "final"]),
        ("250", ["step 250"]),
        ("maya-000010.safetensors", ["epoch 10"]),
    ],
)
def test_checkpoints_are_chosen_by_number_label_or_file(
    run_dir: Path, wish: str, labels: list[str]
) -> None:
    assert [
        point.label for point in choose(read_source(run_dir).checkpoints, wish, run_dir)
    ] == labels


def lora(path: Path, byte: int) -> None:
    """One number, so that the tensors of two files are the same or not."""
    write(path, {"a.lora_up.weight": ("F32", (1,))}, {"ss_steps": path.stem}, [bytes([byte] * 4)])


def test_loras_with_the_same_tensors_are_drawn_once_under_both_labels(run_dir: Path) -> None:
    for name, byte in (("maya-000002", 1), ("maya-000010", 2), ("maya", 2)):
        lora(run_dir / "output" / f"{name}.safetensors", byte)
    (run_dir / "output" / "maya-step00000250.safetensors").unlink()
    columns = columns_of(read_source(run_dir), Choice("all", (1.0,), base=False))
    assert [column.label for column in columns] == ["epoch 2", "epoch 10 = final"]
    assert columns[1].lora == run_dir / "output" / "maya.safetensors"


@pytest.mark.parametrize(
    ("word", "file"),
    [
        ("2", "maya-000002"),
        ("epoch 10", "maya-000010"),
        ("step 250", "maya-step00000250"),
        ("250", "maya-step00000250"),
        ("final", "maya"),
        ("epoch 10 = final", "maya"),
        ("maya-000010.safetensors", "maya-000010"),
        ("maya-000010", "maya-000010"),
    ],
)
def test_a_label_as_the_sheet_prints_it_names_the_file(run_dir: Path, word: str, file: str) -> None:
    assert checkpoint_file(run_dir / "output", "maya", word) == f"{file}.safetensors"


def test_a_number_that_is_an_epoch_and_a_step_is_asked_back(run_dir: Path) -> None:
    (run_dir / "output" / "maya-step00000002.safetensors").write_bytes(b"x")
    with pytest.raises(LorakitError, match="2 may be epoch 2 and step 2") as caught:
        checkpoint_file(run_dir / "output", "maya", "2")
    assert "'epoch 2'" in caught.value.hint


def test_exactly_the_judged_cells_are_columns(run_dir: Path) -> None:
    cells = (("maya.safetensors", 0.6), ("maya-000002.safetensors", 1.0))
    columns = columns_of(read_source(run_dir), Choice(cells=cells))
    assert [(one.label, one.strength) for one in columns[1:]] == [("final", 0.6), ("epoch 2", 1.0)]


def test_the_time_is_said_before_drawing(run_dir: Path, tmp_path: Path) -> None:
    (run_dir / "record.json").write_text(
        '{"schema": 1, "family": "sd15", "outcome": {"seconds_a_step": 3.0}, "steps": {"batch_size": 2}}'
    )
    said: list[str] = []
    choice = Choice("last", (1.0,), seeds=1)
    make_sheet(run_dir, choice, out=tmp_path / "a.png", python=painter(tmp_path), say=said.append)
    # two columns x (20 + 30) steps x 2 passes, half a second each
    assert said[0].endswith("1 seed, about 2 min by this run's pace.")


def test_an_unknown_checkpoint_is_answered_with_those_there_are(run_dir: Path) -> None:
    with pytest.raises(LorakitError, match="epoch 2, epoch 10, step 250, final"):
        choose(read_source(run_dir).checkpoints, "epoch 3", run_dir)


def test_columns_are_the_base_and_every_checkpoint_at_every_strength(run_dir: Path) -> None:
    columns = columns_of(read_source(run_dir), Choice("2,final", (0.6, 1.0)))
    assert [(column.label, column.strength) for column in columns] == [
        ("base", 0.0),
        ("epoch 2", 0.6),
        ("epoch 2", 1.0),
        ("final", 0.6),
        ("final", 1.0),
    ]


def test_other_loras_lie_under_every_cell_and_one_column_is_without_ours(
    run_dir: Path, tmp_path: Path
) -> None:
    lora(tmp_path / "ink.safetensors", 9)
    choice = Choice("last", (0.8, 1.0), others=((tmp_path / "ink.safetensors", 0.7),))
    source = read_source(run_dir)
    columns = columns_of(source, choice)
    assert [(one.label, one.under) for one in columns] == [
        ("base", "no LoRA"),
        ("without it", "ink at 0.7"),
        ("final", "strength 0.8"),
        ("final", "strength 1"),
    ]
    sheet, order = lay_out(source, columns, source.rows, 1, run_dir / "sheet")
    assert [[Path(file).name for file, _ in one["loras"]] for one in order["columns"]] == [
        [],
        ["ink.safetensors"],
        ["ink.safetensors", "maya.safetensors"],
        ["ink.safetensors", "maya.safetensors"],
    ]
    assert sheet.footer.endswith("with ink at 0.7")
    plain, _ = lay_out(source, columns_of(source, Choice("last", (0.8,))), source.rows, 1, run_dir)
    assert plain.pictures[0, 1][0].name != sheet.pictures[0, 2][0].name


def test_another_run_is_taken_as_its_note_says_and_what_is_not_there_is_told(
    run_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    other = tmp_path / "runs" / "ink" / "20260101-120000"
    (other / "output").mkdir(parents=True)
    record = '{"schema": 1, "family": "sd15", "output_name": "ink", "output_dir": "output"}'
    (other / "record.json").write_text(record)
    lora(other / "output" / "ink-000004.safetensors", 8)
    (other / "notes.json").write_text('{"chosen": "ink-000004.safetensors", "strength": 0.7}')
    words = ["sheet", "maya", "--checkpoints", "last", "--python", painter(tmp_path), "--also"]
    assert main([*words, "ink"]) == 0
    order = json.loads((run_dir / "sheet" / "order.json").read_text())
    assert order["columns"][-1]["loras"][0] == [
        str(other / "output" / "ink-000004.safetensors"),
        0.7,
    ]
    assert main([*words, "ink:0.5"]) == 0
    order = json.loads((run_dir / "sheet" / "order.json").read_text())
    assert order["columns"][-1]["loras"][0][1] == 0.5
    assert main([*words, "ink.safetensors:1"]) == 1
    assert "--also ink.safetensors:1: there is no" in capsys.readouterr().err


def test_own_prompts_take_size_and_steps_from_the_run(run_dir: Path) -> None:
    (row,) = rows_of(read_source(run_dir), Choice(prompts=("a blue house",)))
    assert (row.prompt, row.width, row.steps) == ("a blue house", 96, 20)


def test_where_the_run_had_no_prompts_own_ones_take_the_size_of_the_training(run_dir: Path) -> None:
    (run_dir / "prompts.toml").unlink()
    (row,) = rows_of(read_source(run_dir), Choice(prompts=("a blue house",)))
    assert (row.prompt, row.width, row.height) == ("a blue house", 96, 64)


def test_every_column_has_the_same_seeds(run_dir: Path) -> None:
    source = read_source(run_dir)
    _, order = lay_out(
        source, columns_of(source, Choice("last", (1.0,))), source.rows, 3, run_dir / "sheet"
    )
    assert [[job["seed"] for job in column["pictures"]] for column in order["columns"]] == [
        [7, 8, 9, 7, 8, 9]
    ] * 2


def test_a_picture_is_named_by_what_it_depends_on(run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "base.safetensors").write_bytes(b"one")
    source = replace(
        read_source(run_dir),
        options={"pretrained_model_name_or_path": str(tmp_path / "base.safetensors")},
    )

    def files() -> set[str]:
        _, order = lay_out(
            source,
            columns_of(source, Choice("last", (0.8, 1.0))),
            source.rows,
            2,
            run_dir / "sheet",
        )
        return {job["file"] for column in order["columns"] for job in column["pictures"]}

    before = files()
    assert len(before) == 3 * 2 * 2
    (run_dir / "output" / "maya.safetensors").write_bytes(b"another")
    assert len(files() & before) == 2 * 2  # the base's own
    (tmp_path / "base.safetensors").write_bytes(b"another")
    assert not files() & before


def test_a_second_sheet_draws_only_what_is_new(run_dir: Path, tmp_path: Path) -> None:
    python = painter(tmp_path)
    make_sheet(run_dir, Choice("last", (1.0,)), out=tmp_path / "a.png", python=python)
    make_sheet(run_dir, Choice("last", (1.0,)), out=tmp_path / "b.png", python=python)
    assert (tmp_path / "started").read_text() == "x"
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_without_torch_the_way_out_is_named(run_dir: Path, tmp_path: Path) -> None:
    program = tmp_path / "bare"
    program.write_text(
        "#!/bin/sh\necho \"ModuleNotFoundError: No module named 'torch'\" >&2\nexit 1\n"
    )
    program.chmod(0o755)
    with pytest.raises(SetupError, match="--from-samples"):
        make_sheet(run_dir, Choice(), out=tmp_path / "a.png", python=str(program))
    assert not (tmp_path / "a.png").exists()


def test_the_last_line_of_the_child_is_in_the_error(run_dir: Path, tmp_path: Path) -> None:
    program = tmp_path / "broken"
    program.write_text("#!/bin/sh\necho 'out of memory'\nexit 9\n")
    program.chmod(0o755)
    with pytest.raises(SetupError, match="out of memory"):
        make_sheet(run_dir, Choice(), out=tmp_path / "a.png", python=str(program))
    with pytest.raises(SetupError, match="No such file"):
        make_sheet(run_dir, Choice(), out=tmp_path / "a.png", python=str(tmp_path / "nowhere"))


def test_samples_of_the_training_make_a_sheet(run_dir: Path, tmp_path: Path) -> None:
    folder = run_dir / "output" / "sample"
    for name, colour in (
        ("e000000_00_20260101120000_7", "gray"),
        ("e000002_00_20260101120100_7", "red"),
        ("e000002_00_20260101120200_7", "blue"),
        ("e000010_01_20260101120300", "green"),
        ("000250_00_20260101120300", "green"),
    ):
        picture(folder / f"maya_{name}.png", colour)
    sheet = sheet_from_samples(run_dir, out=tmp_path / "s.png")
    assert [column.label for column in sheet.columns] == [
        "epoch 0",
        "epoch 2",
        "epoch 10",
        "step 250",
    ]
    assert sheet.rows == ("maya, portrait", "a red car")
    assert (
        sheet.pictures[0, 1][0].name == "maya_e000002_00_20260101120200_7.png"
    )  # the newest of two


def test_a_run_without_samples_says_so(run_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(LorakitError, match="no sample pictures of maya"):
        sheet_from_samples(run_dir, out=tmp_path / "s.png")


def test_pictures_stand_where_row_and_column_say(tmp_path: Path) -> None:
    red, blue = picture(tmp_path / "r.png", "red"), picture(tmp_path / "b.png", "blue")
    sheet = Sheet(
        "t",
        (Column("base"), Column("final", red, 1.0)),
        ("one", "two"),
        {(0, 0): (red,), (1, 1): (blue,)},
    )
    page = draw_grid(sheet)
    counts = {
        colour: [
            (x, y)
            for x in range(0, page.width, 5)
            for y in range(0, page.height, 5)
            if page.getpixel((x, y)) == value
        ]
        for colour, value in (("red", (255, 0, 0)), ("blue", (0, 0, 255)))
    }
    assert max(x for x, _ in counts["red"]) < min(x for x, _ in counts["blue"])
    assert max(y for _, y in counts["red"]) < min(y for _, y in counts["blue"])


def test_a_picture_of_another_shape_is_shown_complete(tmp_path: Path) -> None:
    wide, tall = (
        picture(tmp_path / "w.png", "red", (120, 60)),
        picture(tmp_path / "t.png", "blue", (60, 120)),
    )
    page = draw_grid(Sheet("t", (Column("base"),), ("one",), {(0, 0): (wide, tall)}))
    blue = [
        (x, y)
        for x in range(page.width)
        for y in range(page.height)
        if page.getpixel((x, y)) == (0, 0, 255)
    ]
    assert (
        max(x for x, _ in blue) - min(x for x, _ in blue) + 1,
        max(y for _, y in blue) - min(y for _, y in blue) + 1,
    ) == (30, 60)


def test_the_command_prints_where_the_sheet_is(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run_dir / "record.json").write_text('{"schema": 1, "family": "sd15"}')
    code = main(
        [
            "sheet",
            str(run_dir),
            "--checkpoints",
            "last",
            "--strengths",
            "1",
            "--python",
            painter(tmp_path),
            "--json",
        ]
    )
    found = json.loads(capsys.readouterr().out)
    assert code == 0
    assert Path(found["sheet"]).is_file()
    assert len(found["cells"]) == 4


def test_samples_of_a_run_without_a_lora_yet_are_shown_and_a_drawn_sheet_takes_an_older_run(
    run_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (run_dir / "record.json").write_text('{"schema": 1, "family": "sd15"}')
    newer = run_dir.with_name("20260102-120000")
    (newer / "output" / "sample").mkdir(parents=True)
    for name in ("train.toml", "prompts.toml", "record.json"):
        (newer / name).write_bytes((run_dir / name).read_bytes())
    picture(newer / "output" / "sample" / "maya_e000002_00_20260102120100_7.png", "red")
    assert main(["sheet", "maya", "--from-samples"]) == 0
    assert (newer / "sheet.png").is_file()
    words = ["--checkpoints", "last", "--strengths", "1", "--python", painter(tmp_path)]
    assert main(["sheet", "latest", *words]) == 0
    assert (run_dir / "sheet.png").is_file()
    said = capsys.readouterr().err
    assert "maya/20260101-120000: the newest run with a LoRA; 20260102-120000 has none yet." in said


def test_strengths_must_be_numbers(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run_dir / "record.json").write_text('{"schema": 1, "family": "sd15"}')
    assert main(["sheet", str(run_dir), "--strengths", "strong"]) == 1
    assert "0.6,0.8,1.0" in capsys.readouterr().err


def test_a_picture_that_cannot_be_decoded_is_named(run_dir: Path, tmp_path: Path) -> None:
    half = run_dir / "output" / "sample" / "maya_e000002_00_20260101120100_7.png"
    half.write_bytes(b"half")
    with pytest.raises(RecipeError, match=r"\.png: cannot be decoded"):
        sheet_from_samples(run_dir, out=tmp_path / "s.png")
    assert not (tmp_path / "s.png").exists()
