"""Real trainings at toy size, in this process: random bases of a few megabytes, four pictures of 64 pixels, seconds."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from toy_runs import arguments, draw_pictures  # noqa: E402

from lorakit.files import sha256  # noqa: E402


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A random base of a family, made once."""
    from tiny_bases import make_tiny

    made: dict[str, Path] = {}

    def of(family: str) -> Path:
        if family not in made:
            made[family] = make_tiny(family, tmp_path_factory.mktemp(family))
        return made[family]

    return of


@dataclass(frozen=True)
class Outcome:
    code: int
    folder: Path
    events: list[dict[str, Any]]
    said: str

    def of(self, event: str) -> list[dict[str, Any]]:
        return [one for one in self.events if one["event"] == event]

    def tensors(self, mark: str = "") -> dict[str, Any]:
        from safetensors.torch import load_file

        return load_file(self.folder / f"fox{mark}.safetensors")

    def digest(self, mark: str = "") -> str:
        """Of the tensors alone: metadata say what was asked for."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.tensors(mark).items()):
            digest.update(
                name.encode() + tensor.reshape(-1).contiguous().view(torch.uint8).numpy().tobytes()
            )
        return digest.hexdigest()

    def sha256(self, mark: str = "") -> str:
        """Of the file, metadata and all."""
        return sha256(self.folder / f"fox{mark}.safetensors")

    def metadata(self, mark: str = "") -> dict[str, str]:
        from safetensors import safe_open

        with safe_open(self.folder / f"fox{mark}.safetensors", "pt") as file:
            return dict(file.metadata())

    @property
    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())


Train = Callable[..., Outcome]


@pytest.fixture(scope="session")
def plain(
    tiny: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Outcome]:
    """What `train(family)` makes, made once: for those who compare it with something else."""
    from lorakit.embedded.main import main

    @cache
    def of(family: str = "sd15") -> Outcome:
        place, told = tmp_path_factory.mktemp(f"plain-{family}"), io.StringIO()
        data = draw_pictures(place / "data" / "2_zwx").parent
        words = arguments(tiny(family), data, place / "out", family, {})
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(told), redirect_stderr(told):
            patch.setenv("LORAKIT_EVENTS", str(place / "events.jsonl"))
            code = main(family, words)
        lines = (place / "events.jsonl").read_text(encoding="utf-8").splitlines()
        return Outcome(code, place / "out", [json.loads(line) for line in lines], told.getvalue())

    return of


@pytest.fixture
def train(
    tiny: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Train]:
    """Train in this process: `train("sd15", max_train_steps=3)`; every call writes into a folder of its own."""
    from lorakit.embedded.main import main

    data = tmp_path / "data"
    draw_pictures(data / "2_zwx")
    count = 0

    def run(
        family: str = "sd15",
        *,
        data_dir: Path | None = data,
        out: Path | None = None,
        **options: Any,
    ) -> Outcome:
        nonlocal count
        count += 1
        folder = out or tmp_path / f"out{count}"
        events = tmp_path / f"events{count}.jsonl"
        monkeypatch.setenv("LORAKIT_EVENTS", str(events))
        if options.get("dataset_config"):
            data_dir = None
        words = arguments(
            tiny(family), data_dir or data, folder, family, {**options, "train_data_dir": data_dir}
        )
        code = main(family, words)
        said = capsys.readouterr()
        lines = events.read_text(encoding="utf-8").splitlines() if events.exists() else []
        return Outcome(code, folder, [json.loads(line) for line in lines], said.out + said.err)

    return run
