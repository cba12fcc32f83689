"""A run's losses and settings in TensorBoard, Weights & Biases, MLflow or Trackio, whoever trained.

lorakit track maya --to tensorboard              # into the run's own folder, tracked/
lorakit track maya --to wandb --project faces
lorakit track maya --to mlflow                   # where MLFLOW_TRACKING_URI says

Read from progress.jsonl and record.json, of a run that has ended or is under way. Private values
are not in the record, so they are not sent. wandb goes to its server, unless WANDB_MODE=offline.
"""

import math
import time
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path

from lorakit.cli.terminal.arguments import Arguments, Parser
from lorakit.errors import LorakitError, SetupError, counted
from lorakit.runs.find import find_run, progress_rows, run_name
from lorakit.runs.record import read_record
from lorakit.show import say

Steps = Mapping[int, Mapping[str, float]]


def add_arguments(parser: Parser) -> None:
    parser.run()
    parser.choice("--to", ("tensorboard", "wandb", "mlflow", "trackio"), required=True)
    parser.value("--project", "NAME", "of the tracker (default: the recipe's name)")


def run(args: Arguments) -> None:
    run_dir = find_run(args.run)
    record, steps = read_record(run_dir), dict(_steps(run_dir))
    if not steps:
        hint = "lorakit watch follows it."
        raise LorakitError(f"{run_name(run_dir)} has no step yet.", hint=hint)
    told = {
        f"{section}.{key}": one.value
        for section, values in record.settings.items()
        for key, one in values.items()
    }
    name, project = run_name(run_dir), args.project or record.name
    try:
        if args.to == "tensorboard":
            _to_tensorboard(run_dir / "tracked", steps)
        elif args.to == "mlflow":
            mlflow = import_module("mlflow")
            mlflow.set_experiment(project)
            with mlflow.start_run(run_name=name) as started:
                mlflow.log_params({key: str(value)[:500] for key, value in told.items()})
                now, metric = round(time.time() * 1000), mlflow.entities.Metric
                points = [metric(*one, now, step) for step in steps for one in steps[step].items()]
                for first in range(0, len(points), 1000):  # as many as it takes at a time
                    batch = points[first : first + 1000]
                    mlflow.MlflowClient().log_batch(started.info.run_id, batch)
        else:  # Trackio has the calls of wandb
            tracker = import_module(args.to)
            tracker.init(project=project, name=name.replace("/", "-"), config=told)
            for step, values in steps.items():
                tracker.log(values, step=step)
            tracker.finish()
    except ImportError as error:
        hint = f"pip install {args.to}"
        raise SetupError(f"{args.to} is not here: {error}.", hint=hint) from None
    except Exception as error:  # noqa: BLE001  # whatever a tracker raises: no server, no login
        raise LorakitError(f"{args.to} took nothing, or not all: {error}") from None
    say(f"{counted(len(steps), 'step')} of {name} are in {args.to}.")


def _steps(run_dir: Path) -> Iterator[tuple[int, dict[str, float]]]:
    for row in progress_rows(run_dir):
        told = {key: row.get(key) for key in ("loss", "lr", "epoch")}
        known = {key: one for key, one in told.items() if one is not None and math.isfinite(one)}
        yield row["step"], known


def _to_tensorboard(folder: Path, steps: Steps) -> None:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(folder))
    for step, values in steps.items():
        shown = [Summary.Value(tag=key, simple_value=one) for key, one in values.items()]
        writer.add_event(Event(step=step, summary=Summary(value=shown)))
    writer.close()
