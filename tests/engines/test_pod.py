"""A rented machine by ssh: a real sshd on loopback, and another folder with its own home as the pod."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from engine_runs import left_run
from pace import until

from lorakit.cli.main import main
from lorakit.engines.pod import Pod
from lorakit.errors import LorakitError
from lorakit.processes import Identity
from lorakit.runs.find import run_dirs
from lorakit.runs.record import read_record
from lorakit.weights.finite import inspect

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Machine:
    home: Path  # of the pod
    port: int
    server: subprocess.Popen[bytes]

    @property
    def project(self) -> Path:
        return self.home / "lorakit-pod"

    @property
    def name(self) -> str:
        return f"ssh:{getpass.getuser()}@127.0.0.1:{self.port}"

    def lorakit(self, text: str) -> None:
        """What answers to that name there."""
        path = self.home / ".local" / "bin" / "lorakit"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def cut(self) -> None:
        """The connections, not the server; nothing that was started over them is touched."""
        for one in psutil.Process(self.server.pid).children():
            one.send_signal(signal.SIGKILL)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    if not SSHD or not all(map(shutil.which, ("ssh", "ssh-keygen", "setsid"))):
        pytest.skip("no sshd here (apt-get install openssh-server)")
    place, home, port = tmp_path / "ssh", tmp_path / "pod home", free_port()
    for one in (place, home):
        one.mkdir(mode=0o700)
    for name in ("host", "key", "other"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(place / name)], check=True
        )
    shutil.copy(place / "key.pub", place / "allowed")
    key = (place / "host.pub").read_text()
    (place / "known").write_text(f"[127.0.0.1]:{port} {key}")
    enter = place / "enter"
    enter.write_text(
        f"#!/bin/sh\nexport HOME='{home}' OMP_NUM_THREADS=1\n"
        f'unset XDG_CONFIG_HOME XDG_CACHE_HOME\ncd && eval "$SSH_ORIGINAL_COMMAND"\n'
    )
    enter.chmod(0o755)
    settings = {
        "ListenAddress": f"127.0.0.1:{port}",
        "HostKey": place / "host",
        "AuthorizedKeysFile": place / "allowed",
        "PidFile": place / "pid",
        "ForceCommand": enter,
        "StrictModes": "no",
        "UsePAM": "no",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
    }
    (place / "config").write_text("".join(f"{one} {value}\n" for one, value in settings.items()))
    Path("/run/sshd").mkdir(exist_ok=True) if not os.geteuid() else None
    with (place / "log").open("wb") as log:
        server = subprocess.Popen([SSHD, "-D", "-e", "-f", str(place / "config")], stderr=log)
    monkeypatch.setenv(
        "LORAKIT_SSH", f"ssh -F none -i {place}/key -o UserKnownHostsFile={place}/known"
    )
    machine = Machine(home, port, server)
    machine.lorakit(f'#!/bin/sh\nexec {sys.executable} -m lorakit "$@"\n')
    until(lambda: answers(port))
    yield machine
    machine.cut()
    server.terminate()
    server.wait()


def answers(port: int) -> bool:
    with socket.socket() as door:
        return door.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize(
    ("text", "host", "port", "folder"),
    [
        ("ssh:pod", "pod", "", "lorakit-pod"),
        (
            "ssh:root@203.0.113.7:22022/workspace/maya",
            "root@203.0.113.7",
            "22022",
            "/workspace/maya",
        ),
    ],
)
def test_a_machine_has_a_name(text: str, host: str, port: str, folder: str) -> None:
    pod = Pod.named(text)
    assert (pod.host, pod.port, pod.folder) == (host, port, folder)
    assert str(pod) == text


@pytest.mark.parametrize(
    "text", ["pod", "ssh:", "ssh:-oProxyCommand=x", "ssh:a b", "ssh:a;b", "ssh:a:x"]
)
def test_what_is_no_machine_is_refused_and_nothing_is_run(text: str) -> None:
    with pytest.raises(LorakitError, match="names no machine"):
        Pod.named(text)


def test_no_word_is_a_command_of_the_shell_there(tmp_path: Path) -> None:
    evil = f"x'; touch {tmp_path}/evil; $(touch {tmp_path}/evil) `touch {tmp_path}/evil`"
    there = Pod("ssh:pod", "pod", "", str(tmp_path / "it's $HOME")).argv(
        ["place", "0", evil, evil]
    )[-1]
    subprocess.run(["sh", "-c", there], cwd=tmp_path)
    assert not (tmp_path / "evil").exists()


def test_a_command_of_nobody_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["remote", "ssh:pod", "fecth"]) == 1
    assert "Did you mean fetch?" in capsys.readouterr().err


def test_a_machine_that_is_off_is_said_with_what_ssh_says(
    maya: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if not shutil.which("ssh"):
        pytest.skip("no ssh here")
    assert main(["remote", f"ssh:me@127.0.0.1:{free_port()}", "push", "maya"]) == 1
    said = capsys.readouterr().err
    assert "me@127.0.0.1 cannot be reached." in said and "Connection refused" in said
    monkeypatch.setenv("LORAKIT_SSH", "ssssh")
    assert main(["remote", "ssh:pod", "runs"]) == 1
    assert "There is no ssh here." in capsys.readouterr().err


def test_a_recipe_with_private_values_is_not_sent(
    maya: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["remote", "ssh:pod", "push", "maya", "--set", "launch.env.HF_TOKEN=hf_x"]) == 1
    said = capsys.readouterr().err
    assert "nothing was sent" in said and "hf_x" not in said


def said_by(words: list[str], capsys: pytest.CaptureFixture[str], code: int = 0) -> str:
    assert main(words) == code
    seen = capsys.readouterr()
    return seen.out + seen.err


@pytest.mark.slow
def test_pictures_are_pushed_once_and_what_was_edited_there_is_kept(
    pod: Machine, maya: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    push = ["remote", pod.name, "push", "maya"]
    assert said_by(push, capsys).count(" to ") == 2  # the project, the pictures
    there = pod.project / "data" / "10_maya_char"
    assert sorted(one.name for one in there.iterdir()) == sorted(
        one.name for one in Path("data/10_maya_char").iterdir()
    )
    assert (pod.project / "recipes" / "maya.toml").read_bytes() == maya.read_bytes()
    assert "All of it is at" in said_by(push, capsys)
    (pod.project / "recipes" / "maya.toml").write_text("# mine\n")
    maya.write_text(maya.read_text() + "\n# changed\n")
    said = said_by(push, capsys)
    assert (
        said.count(" to ") == 1 and "recipes/maya.toml was there: it is in .lorakit/aside" in said
    )
    (kept,) = pod.project.glob(".lorakit/aside/*/recipes/maya.toml")
    assert kept.read_text() == "# mine\n"
    assert (pod.project / "recipes" / "maya.toml").read_bytes() == maya.read_bytes()


@pytest.mark.slow
def test_each_fault_of_the_other_machine_is_a_sentence(
    pod: Machine, maya: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    push, ssh = ["remote", pod.name, "push", "maya"], os.environ["LORAKIT_SSH"]
    monkeypatch.setenv("LORAKIT_SSH", ssh.replace("/key", "/other"))
    assert "refused the key. " in said_by(push, capsys, 1)
    monkeypatch.setenv("LORAKIT_SSH", ssh.replace("/known", "/unknown"))
    assert "is not known here" in said_by(push, capsys, 1)
    monkeypatch.setenv("LORAKIT_SSH", ssh)
    pod.lorakit("#!/bin/sh\necho lorakit 0.0.1\n")
    said = said_by(push, capsys, 1)
    assert "lorakit 0.0.1" in said and f"lorakit remote {pod.name} setup" in said
    pod.lorakit("#!/bin/sh\nexit 1\n")
    assert "No lorakit runs at" in said_by(push, capsys, 1)
    assert not (pod.project / "recipes").exists()


@pytest.mark.slow
def test_a_full_disk_there_and_a_clock_that_is_wrong_are_said(
    pod: Machine, maya: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    programs = pod.home / ".local" / "bin"
    (programs / "df").write_text("#!/bin/sh\necho Head\necho disk 9 9 1 9% /\n")
    (programs / "date").write_text("#!/bin/sh\n[ $1 = +%s ] && echo 1000000000 || echo 20010909\n")
    for name in ("df", "date"):
        (programs / name).chmod(0o755)
    push = ["remote", pod.name, "push", "maya"]
    said = said_by(push, capsys, 1)
    assert "has 1 kB free and needs" in said and "nothing was sent" in said
    assert "behind this one, and its runs are dated by it" in said
    (programs / "df").unlink()
    (programs / "cat").write_text(
        "#!/bin/sh\nhead -c 100; echo 'No space left on device' >&2; exit 1\n"
    )
    (programs / "cat").chmod(0o755)  # stands for a disk that fills up meanwhile
    said = said_by(push, capsys, 1)
    assert "No space left on device" in said
    assert not list(pod.project.glob("recipes/*")) and not list(pod.project.glob(".lorakit/sent/*"))


def inside(top: Path) -> dict[str, bytes]:
    return {str(one.relative_to(top)): one.read_bytes() for one in top.rglob("*") if one.is_file()}


def toy_project(place: Path) -> Path:
    """recipes/demo on its committed base, a few steps."""
    from drawings import drawing

    shutil.copytree(ROOT / "recipes" / "demo", place / "recipes" / "demo")
    text = (ROOT / "recipes" / "demo.toml").read_text()
    head, _, _ = text.partition("[sample]")
    (place / "recipes" / "demo.toml").write_text(
        head.replace(
            "max_train_epochs  = 14\nsave_every_n_epochs = 7", "max_train_steps = 80"
        ).replace('reg_path = "datasets/demo-reg"', "")
        + "[launch]\nnum_cpu_threads = 1\n"
    )
    images = place / "datasets" / "demo" / "8_zwx"
    images.mkdir(parents=True)
    for number in range(6):
        drawing((64, 64)).save(images / f"{number}.png")
        (images / f"{number}.txt").write_text("zwx, sea")
    return place


@pytest.mark.long
@pytest.mark.slow
def test_a_training_outlives_its_connection_and_comes_home_proven(
    pod: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    monkeypatch.chdir(toy_project(tmp_path))
    shutil.copytree(
        ROOT / "recipes" / "demo", pod.project / "recipes" / "demo"
    )  # the base is there
    words = [sys.executable, "-m", "lorakit", "remote", pod.name]
    first = subprocess.Popen(
        [*words, "train", "recipes/demo.toml"], stderr=subprocess.PIPE, text=True
    )
    until(lambda: list(pod.project.glob("runs/demo/*/progress.jsonl")))
    pod.cut()
    told = first.communicate(timeout=60)[1]
    assert first.returncode == 1 and "is not connected.\nWhat trains there goes on" in told
    assert main(["remote", pod.name, "stop", "demo"]) == 0
    (there,) = run_dirs(pod.project)
    assert read_record(there).state in {"stopped", "interrupted"}
    assert main(["remote", pod.name, "resume", "demo"]) == 0  # watched to its end
    assert read_record(there).state == "done"
    assert main(["remote", pod.name, "fetch", "demo"]) == 0
    (here,) = run_dirs(tmp_path)
    assert inside(here) == inside(there)
    assert inspect(here / "output" / "demo.safetensors").tensors_sha256
    assert main(["remote", pod.name, "fetch", "demo"]) == 1
    assert "is here already, and is left as it is" in capfd.readouterr().err


@pytest.mark.long
@pytest.mark.slow
def test_a_sweep_is_trained_there_with_its_pictures_pushed_once_and_each_run_comes_home(
    pod: Machine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("torch")
    monkeypatch.chdir(toy_project(tmp_path))
    shutil.copytree(ROOT / "recipes" / "demo", pod.project / "recipes" / "demo")
    words = ["--vary", "seed=1,2", "--set", "max_train_steps=6", "--name", "seeds"]
    said_by(["sweep", "demo", *words], capsys)
    on = ["sweep", "run", "seeds", "--on", pod.name]
    said = said_by(on, capsys)
    assert "needs no connection" in said and said.count(" kB to ") + said.count(" B to ") == 2
    assert len([one for one in pod.project.glob(".lorakit/sent/*") if one.is_dir()]) == 2
    records = pod.project / "runs"  # a folder is there a moment before its record

    def states() -> list[str]:
        return [read_record(one.parent).state for one in sorted(records.glob("*/*/record.json"))]

    until(lambda: states() == ["done"] * 2, seconds=240)
    capsys.readouterr()
    main(on)
    said_by(["remote", pod.name, "fetch", "seeds-01"], capsys)
    said_by(["remote", pod.name, "fetch", "seeds-02"], capsys)
    assert len(run_dirs(pod.project)) == 2  # what had a run there was left out
    assert '"done"' in said_by(["sweep", "table", "seeds", "--json"], capsys)
    assert len(run_dirs(tmp_path)) == 2


@pytest.mark.slow
def test_setup_clones_the_commit_that_is_here_and_follows_it_to_the_next(
    pod: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    here, bare = tmp_path / "lorakit here", tmp_path / "bare.git"

    def git(*words: str) -> str:
        who = ["-c", "user.name=me", "-c", "user.email=me@example.org"]
        argv = ["git", *who, "-C", str(here), *words]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    here.mkdir()
    (here / "pyproject.toml").write_text("")
    (here / "Makefile").write_text(
        "vendor:\n\tmkdir -p .venv/bin\n\tcp doctor .venv/bin/lorakit\n\tchmod 755 .venv/bin/lorakit\n"
    )
    git("init", "--quiet")
    subprocess.run(["git", "init", "--quiet", "--bare", str(bare)], check=True)
    git("remote", "add", "origin", bare.as_uri())
    monkeypatch.setattr("lorakit.engines.pod.ROOT", here)
    for number in (1, 2):
        (here / "doctor").write_text(f"#!/bin/sh\necho $1 {number}\n")
        git("add", ".")
        git("commit", "--quiet", "-m", str(number))
        if number == 2:  # not pushed yet
            assert main(["remote", pod.name, "setup"]) not in {0, 3}
            capfd.readouterr()
        git("push", "--quiet", "origin", "HEAD")
        assert main(["remote", pod.name, "setup"]) == 0
        assert f"doctor {number}" in capfd.readouterr().out
        source = pod.project / ".lorakit" / "source"
        head = subprocess.run(
            ["git", "-C", str(source), "rev-parse", "HEAD"], capture_output=True, text=True
        )
        assert head.stdout.strip() == git("rev-parse", "HEAD")


@pytest.mark.slow
def test_a_fetch_that_was_cut_goes_on_where_it_was(
    pod: Machine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    there = left_run(pod.project, "maya", losses=(0.1,) * 50)
    (there / "output").mkdir()
    (there / "output" / "maya.safetensors").write_bytes(b"picture" * 90_000)
    whole = (pod.home / ".local/bin/lorakit").read_text()
    (command,) = whole.splitlines()[1:]
    slowly = f"{command.removeprefix('exec ')} | {{ head -c 200000; sleep 60; }}"
    pod.lorakit(f'#!/bin/sh\nif [ "$3" = pack ]; then {slowly}; else {command}; fi\n')
    words = [sys.executable, "-m", "lorakit", "remote", pod.name, "fetch", "maya"]
    first = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    (folder := tmp_path / ".lorakit" / "fetch").mkdir(parents=True)
    until(lambda: sum(one.stat().st_size for one in folder.iterdir()) > 150_000)
    pod.cut()
    assert "Do it again" in first.communicate(timeout=60)[1]
    (part,) = folder.iterdir()
    seen = part.stat().st_size
    pod.lorakit(whole)
    tail = pod.home / ".local/bin/tail"
    tail.write_text(f'#!/bin/sh\necho "$2" > {str(tmp_path / "from")!r}\nexec /usr/bin/tail "$@"\n')
    tail.chmod(0o755)
    assert "byte for byte" in said_by(["remote", pod.name, "fetch", "maya"], capsys)
    assert (tmp_path / "from").read_text() == f"+{seen + 1}\n"
    (here,) = run_dirs(tmp_path)
    assert inside(here) == inside(there) and not list(folder.iterdir())


@pytest.mark.slow
def test_a_run_is_taken_whole_or_not_at_all(
    pod: Machine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    fetch, me = ["remote", pod.name, "fetch", "maya"], Identity.of(os.getpid()).to_json()
    moving = left_run(pod.project, "maya", state="running", supervisor=me, outcome={})
    assert "is being trained; it is fetched when it has ended" in said_by(fetch, capsys, 1)
    shutil.rmtree(moving)
    there = left_run(pod.project, "maya", losses=(0.1,) * 50)
    (there / "output").mkdir()
    (there / "output" / "maya.safetensors").write_bytes(b"picture" * 9000)
    whole = (pod.home / ".local/bin/lorakit").read_text()
    for change in ("sed s/pictur/qictur/", "head -c 20000", 'sed s/"size"/"sise"/'):
        pod.lorakit(whole.replace("exec ", "").replace('"$@"', f'"$@" | {change}'))
        said_by(fetch, capsys, 1)
        assert not run_dirs(tmp_path)
    pod.lorakit(whole)
    assert "byte for byte" in said_by(fetch, capsys)
    (here,) = run_dirs(tmp_path)
    assert inside(here) == inside(there)
