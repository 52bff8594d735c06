"""The readers of text, tables and tensors, and a small good example of what each of them reads."""

import json
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from parsers import Parser, each

from megactor_core import weights
from megactor_core.animation.output_paths import OutputPaths, plan_outputs
from megactor_core.animation.resume import finished
from megactor_core.animation.store import RunFolder
from megactor_core.config.animate import AnimateConfig
from megactor_core.config.curate import CurateConfig
from megactor_core.config.data import DataConfig
from megactor_core.config.jobs import load_jobs
from megactor_core.config.preprocess import PreprocessConfig
from megactor_core.config.recipes import check_recipe, list_recipes, save_config
from megactor_core.curation.output import saved_config
from megactor_core.curation.run_record import RunRecord, read_record
from megactor_core.curation.sources import content_of, find_sources
from megactor_core.curation.status import read_status
from megactor_core.data.sample import (
    INDEX_SCHEMA,
    IndexRow,
    Sample,
    SampleArrays,
    SampleFacts,
    create_latents,
    read_index,
    write_arrays,
    write_audio_features,
    write_facts,
    write_index,
    write_sound,
)
from megactor_core.data.source import SampleFolder
from megactor_core.demo.record import Record
from megactor_core.engine.journal import FORMAT as JOURNAL_FORMAT
from megactor_core.engine.journal import Journal
from megactor_core.engine.parts import write_part
from megactor_core.engine.stage import Outcome
from megactor_core.evaluation.clip import read_arrays
from megactor_core.evaluation.clip import write_arrays as write_pair_arrays
from megactor_core.evaluation.compare import compare
from megactor_core.evaluation.comparison_report import comparison_page
from megactor_core.evaluation.feature_cache import Tape
from megactor_core.evaluation.result import CLIPS, METRICS
from megactor_core.files import sha256_of, write_json
from megactor_core.media.video_writer import VideoWriter
from megactor_core.metrics.gauge import Gauge, GaugeNetwork, load_gauge, save_gauge
from megactor_core.models.audio import WhisperEncoder
from megactor_core.models.autoencoder import load_kl
from megactor_core.models.checkpoint import init_checkpoint, load_checkpoint
from megactor_core.models.tensor_files import read_diffusers_folder, read_tensors
from megactor_core.synthetic.state import TRACKS, Performance
from megactor_core.synthetic.truth import Truth, read_truth, write_truth
from megactor_core.training.run_checkpoint import Progress, RunState, load_state, newest_valid, save_state
from megactor_core.training.watch import StepMetrics, read_metrics

FRAMES, SIDE_PX = 8, 32
Make = Callable[[Path], None]


# ---------------------------------------------------------------- recipes and jobs


def make_recipes(folder: Path) -> None:
    for recipe in list_recipes():
        (folder / recipe.command).mkdir(exist_ok=True)
        (folder / recipe.command / recipe.path.name).write_bytes(recipe.path.read_bytes())


JOBS = [
    {"reference": "a.png", "driving": "b.mp4", "output": "1.mp4", "alpha": 0.5, "window": {"frames": 8}},
    {"reference": "a.png", "audio": "c.wav", "output": "2.mp4", "fps": "30000/1001", "regions": ["eyes"]},
]


def make_jobs(folder: Path) -> None:
    (folder / "jobs.json").write_text(json.dumps(JOBS, indent=1))
    (folder / "jobs.jsonl").write_text("".join(json.dumps(job) + "\n" for job in JOBS))
    (folder / "jobs.yaml").write_text(
        "- reference: a.png\n  driving: b.mp4\n  output: 1.mp4\n  alpha: 0.5\n  window:\n    frames: 8\n"
        "- reference: a.png\n  audio: c.wav\n  output: 2.mp4\n  fps: 30000/1001\n  regions: [eyes]\n"
    )


# ---------------------------------------------------------------- manifests


CLIPS_TABLE = {
    "source_uri": ["a/one.mp4", "b/two.mp4", "c/three.mov"],
    "clip_id": ["one", "two", "three"],
    "dataset": ["some", "some", "more"],
    "identity": ["anna", "ben", "ben"],
    "source_id": ["x1", None, "x3"],
    "split": ["train", "train", "train"],
    "start_s": [0.0, 1.5, None],
    "end_s": [2.0, 3.5, None],
    "keep": [True, True, False],
    "driver_path": [None, "d/two.mp4", None],
}


def make_curation_manifest(folder: Path) -> None:
    pq.write_table(pa.table(CLIPS_TABLE), folder / "manifest.parquet")


def make_manifests(folder: Path) -> None:
    make_curation_manifest(folder)
    names = list(CLIPS_TABLE)
    rows = [dict(zip(names, values, strict=True)) for values in zip(*CLIPS_TABLE.values(), strict=True)]
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = [",".join("" if row[name] is None else str(row[name]) for name in names) for row in rows]
    (folder / "manifest.csv").write_text("\n".join([",".join(names), *lines]) + "\n")


def read_sources(path: Path) -> None:
    found = find_sources(CurateConfig(sources=(path,), output=path.parent.parent / "curated"))
    for clip in found.clips:
        json.dumps(clip.to_row())
        content_of(clip.path)


def read_clips(path: Path) -> None:
    from megactor_core.preprocessing.sources import find_source

    for clip in find_source(PreprocessConfig(source=path, output=path.parent.parent / "samples")).clips:
        row = clip.to_row()
        json.dumps(row)
        assert Path(row["row_id"]).name == row["row_id"]
        assert not row["row_id"].startswith(".")


# ---------------------------------------------------------------- samples


def make_sample(folder: Path) -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(0, SIDE_PX, (FRAMES, 68, 2)).astype(np.float32)
    write_arrays(
        folder,
        SampleArrays(
            points=points,
            found=np.ones(FRAMES, dtype=bool),
            pose=np.zeros((FRAMES, 3), np.float32),
            regions=np.zeros((FRAMES, 3, 4), np.float32),
            motion=np.zeros((FRAMES, 2, 3), np.float32),
        ),
    )
    write_audio_features(folder, "log-mel", rng.normal(size=(80, 4 * FRAMES)))
    write_sound(folder, np.sin(np.arange(5120) / 9).astype(np.float32), audio_hz=16_000)
    for array in create_latents(folder, shape=(FRAMES, 4, 4, 4)):
        array[:] = 0.5
        array.flush()
    with VideoWriter(
        folder / "video.mp4",
        video_fps=Fraction(25),
        width=SIDE_PX,
        height=SIDE_PX,
        gop_frames=4,
        threads=1,
    ) as video:
        for number in range(FRAMES):
            video.write(np.full((SIDE_PX, SIDE_PX, 3), 20 * number, np.uint8))
    write_facts(
        folder,
        SampleFacts(
            sample_id="one",
            identity="anna",
            split="train",
            source_uri="one.mp4",
            start_s=None,
            end_s=None,
            frames=FRAMES,
            video_fps="25",
            size_px=SIDE_PX,
            source_width=64,
            source_height=64,
            source_fps=25.0,
            crop_x=0.0,
            crop_y=0.0,
            crop_side=32.0,
            faces_max=1,
            lost_frames=0,
            damaged_packets=0,
            yaw_abs_mean_degrees=1.0,
            has_audio=True,
            sound="heard",
            audio_features="log-mel",
            has_latents=True,
            has_driver=False,
            gop_frames=4,
            landmarks="mediapipe",
            source_hash="0",
            versions={},
        ),
    )


def read_sample(path: Path) -> None:
    sample = Sample.open(path.parent)
    assert sample.facts.seconds > 0
    each(
        lambda: sample.arrays,
        lambda: sample.log_mel,
        sample.sound,
        lambda: sample.latents([0, 3]),
        lambda: sample.read_frames([2, 0, min(7, sample.frames - 1)]),
    )


def make_index(folder: Path) -> None:
    rows = [
        IndexRow(
            sample_id=f"s{n}",
            identity=f"i{n}",
            split="train",
            source_uri=f"{n}.mp4",
            status="ok",
            path=f"samples/s{n}",
            has_audio=True,
            frames=8,
            video_fps=25.0,
            size_px=64,
            seconds=0.3,
        )
        for n in range(3)
    ]
    write_index(folder, rows)
    assert set(INDEX_SCHEMA.names) <= set(asdict(rows[0]))


def read_data(path: Path) -> None:
    for row in read_index(path.parent):
        assert row.path is None or not Path(row.path).is_absolute()
    source = SampleFolder(path.parent, DataConfig())
    for number in range(len(source.rows)):
        try:
            source.open(number)
        except Exception as error:
            if type(error).__name__ != "MediaError":
                raise


# ---------------------------------------------------------------- checkpoints and weights


def make_checkpoint(folder: Path) -> None:
    init_checkpoint(folder / "checkpoint", preset="nano", seed=0)


def hash_again(folder: Path) -> None:
    """Write right hashes into every manifest below the folder, as one who wants to be believed does."""
    for path in folder.rglob("manifest.json"):
        try:
            manifest = json.loads(path.read_text())
            for name, facts in manifest.items():
                facts |= {
                    "sha256": sha256_of(path.parent / name),
                    "bytes": (path.parent / name).stat().st_size,
                }
            path.write_text(json.dumps(manifest))
        except (OSError, ValueError, AttributeError, TypeError, RecursionError):
            continue


def make_tensors(folder: Path) -> None:
    tensors = {f"layer.{n}.weight": torch.arange(12.0).reshape(3, 4) + n for n in range(3)}
    from safetensors.torch import save_file

    save_file(tensors, folder / "some.safetensors")
    torch.save(tensors, folder / "zipped.pth")
    torch.save({"state_dict": tensors, "epoch": 3}, folder / "nested.pt")
    torch.save(tensors, folder / "plain.model", _use_new_zipfile_serialization=False)
    (folder / "sharded").mkdir()
    save_file(tensors, folder / "sharded" / "part.safetensors")
    index = {"metadata": {"total_size": 144}, "weight_map": dict.fromkeys(tensors, "part.safetensors")}
    write_json(folder / "sharded" / "diffusion_pytorch_model.safetensors.index.json", index)


def read_weights(path: Path) -> None:
    found = read_diffusers_folder(path.parent) if path.parent.name == "sharded" else read_tensors(path)
    for value in found.values():
        assert value.is_floating_point()
        value.float().contiguous()


def make_whisper(folder: Path) -> None:
    from transformers import WhisperConfig, WhisperModel

    config = WhisperConfig(
        d_model=16,
        encoder_layers=4,
        encoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_layers=1,
        decoder_attention_heads=2,
        decoder_ffn_dim=16,
        vocab_size=16,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
        begin_suppress_tokens=None,
    )
    WhisperModel(config).save_pretrained(folder)


def make_kl(folder: Path) -> None:
    from diffusers import AutoencoderKL

    AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=4,
    ).save_pretrained(folder)


def make_onnx(folder: Path) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array(np.ones((3, 12), np.float32), "w")
    shape = numpy_helper.from_array(np.array([1, 12], np.int64), "s")
    nodes = [
        helper.make_node("Reshape", ["input", "s"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w"], ["output"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 2, 2])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 3])],
        [weight, shape],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(folder / "toy.onnx"))


def run_onnx(path: Path) -> None:
    from megactor_core.faces.dwpose import _Network

    network = _Network(path, input_shape=(1, 3, 2, 2), output_shapes=[(1, 3)])
    network.run(np.ones((2, 2, 3), np.float32))


def make_face_models(folder: Path) -> None:
    source = weights.find("mediapipe-face")
    (folder / "mediapipe-face").mkdir()
    for path in source.iterdir():
        (folder / "mediapipe-face" / path.name).write_bytes(path.read_bytes())


def find_faces(path: Path) -> None:
    import os

    from megactor_core.faces.mediapipe import MediaPipeFaces

    os.environ["MEGACTOR_CACHE"] = str(path.parents[1])
    folder = weights.find("mediapipe-face")
    MediaPipeFaces(folder).step(np.zeros((64, 64, 3), np.uint8), [], thorough=True)


def make_wheel(folder: Path) -> None:
    from megactor_core.weights_registry import REGISTRY

    source = REGISTRY["mediapipe-face"].sources[0]
    with zipfile.ZipFile(folder / "package.whl", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, member in source.members.items():
            archive.writestr(member, (weights.find("mediapipe-face") / name).read_bytes()[:2000])


def take_wheel(path: Path) -> None:
    """Never accepted: the hashes of what it holds are not the pinned ones."""
    import os

    os.environ["MEGACTOR_CACHE"] = str(path.parents[1] / "cache")
    try:
        weights.pull("mediapipe-face", from_path=path)
    finally:
        (path.parents[1] / "cache").rmdir()


# ---------------------------------------------------------------- runs of training


def make_run(folder: Path) -> None:
    tensors = {"a.weight": torch.ones(3, 2), "a.bias": torch.zeros(3)}
    state = RunState(
        Progress(step=5, next_index=20, loss=0.5), tensors, tensors, {"a.weight/exp_avg": tensors["a.weight"]}
    )
    save_state(folder, state, keep=3)
    lines = [StepMetrics(n, 0.5, 0.4, 0.1, 2.0, 1e-4, 1.0) for n in range(4)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(asdict(line)) + "\n" for line in lines))


def go_on(path: Path) -> None:
    run = path.parent if path.name == "metrics.jsonl" else path.parents[2]
    each(lambda: newest_valid(run, lambda _: None), lambda: load_state(run / "checkpoints/step-00000005"))
    assert all(isinstance(line, StepMetrics) for line in read_metrics(run / "metrics.jsonl", StepMetrics))


# ---------------------------------------------------------------- journals and outputs of commands


def make_journal(folder: Path) -> None:
    (folder / "parts").mkdir()
    for start in (0, 5):
        rows = [
            Outcome({"row_id": f"r{n}", "n": n, "words": ["a"]}, key=f"k{n}", status="ok")
            for n in range(start, start + 5)
        ]
        write_part(folder / "parts", rows, run=1, host="here")
    write_json(
        folder / "run.json", {"format": JOURNAL_FORMAT, "stages": [{"name": "add", "version": "1"}], "run": 3}
    )


def read_journal(path: Path) -> None:
    journal = Journal(path.parent if path.name == "run.json" else path.parents[1])
    each(journal.last_run, journal.results, journal.table, journal.finished)


def make_curated(folder: Path) -> None:
    save_config(CurateConfig(output=Path("curated")), folder / "config.yaml")
    record = RunRecord(
        run=1,
        clips=2,
        elsewhere=0,
        gates=("probe",),
        versions={"probe": "1"},
        host="here",
        process=1,
        process_began=None,
        started="2026-01-02T03:04:05+00:00",
        ended="2026-01-02T03:05:05+00:00",
        ending="finished",
    )
    write_json(folder / "run.json", asdict(record))
    (folder / "journal").mkdir()


def read_curated(path: Path) -> None:
    config = CurateConfig(output=path.parent)
    each(lambda: saved_config(config), lambda: read_record(path.parent), lambda: read_status(config))


METRIC = {
    "value": 30.0,
    "interval": [29.0, 31.0],
    "count": 2,
    "better": "higher",
    "unit": "dB",
    "preprocessing": "as stored",
    "weights": [],
    "samples": [10, 10],
    "is_biased": False,
}


def make_evaluations(folder: Path) -> None:
    for name, shift in (("a", 0.0), ("b", 1.0)):
        (folder / name).mkdir()
        metrics = {"psnr": METRIC, "fid": {**METRIC, "value": 9.0 + shift}}
        write_json(folder / name / METRICS, {"tool": "megactor 0.1.0", "format": 1, "metrics": metrics})
        table = {
            "name": ["one.mp4", "two.mp4"],
            "mode": pa.array([None, None], pa.string()),
            "status": ["ok", "ok"],
            "error": pa.array([None, None], pa.string()),
            "frames": [8, 8],
            "psnr": [30.0 + shift, 31.0],
            "skipped": ["{}", "{}"],
        }
        pq.write_table(pa.table(table), folder / name / CLIPS)


def compare_evaluations(path: Path) -> None:
    comparison_page(compare(path.parents[1] / "a", path.parents[1] / "b", seed=0))


def make_pair_arrays(folder: Path) -> None:
    write_pair_arrays(
        folder, "one", {"psnr": np.arange(8.0), "points_real": np.zeros((8, 68, 2), np.float32)}
    )
    tape = Tape(folder / "tape.safetensors")
    tape.take(4, lambda known: np.ones((4 - known, 3), np.float32))
    tape.save(whole=True)


def read_pair_arrays(path: Path) -> None:
    if path.name == "tape.safetensors":
        tape = Tape(path)
        tape.take(4, lambda known: np.ones((4 - known, 3), np.float32))
    else:
        read_arrays(path.parents[1], "one")


def make_gauge(folder: Path) -> None:
    save_gauge(folder, Gauge(GaugeNetwork(), {"held_out": {}}))


def make_animation(folder: Path) -> None:
    (folder / "out.mp4").write_bytes(b"not looked into")
    (folder / "face.png").write_bytes(b"not looked into")
    job = _animation(folder)
    report = {
        "output": str(folder / "out.mp4"),
        "frames": 8,
        "fps": 25.0,
        "width": 64,
        "height": 64,
        "seconds": 0.32,
        "modalities": ["visual"],
        "audio_scale": 1.0,
        "alpha": 1.0,
        "seed": 0,
        "checkpoint": "c",
        "trained": True,
        "lost_face_frames": 0,
        "compute_seconds": 1.0,
        "tool": "megactor 0.1.0",
        "sha256": sha256_of(folder / "out.mp4"),
        "inputs": {},
        "config": job.config.model_dump(mode="json"),
    }
    write_json(folder / "out.mp4.json", report)
    (folder / "interrupted.mp4.resume").mkdir()
    RunFolder(folder / "interrupted.mp4.resume").save(
        {"run": {}, "conditions": {"frames": 8}, "steps_done": 3}
    )


def _animation(folder: Path) -> Any:
    config = AnimateConfig(reference=Path("face.png"), output=Path("out.mp4"), resume=True)
    outputs = OutputPaths(video=folder / "out.mp4", compare=None, sheet=None)
    return SimpleNamespace(config=config, outputs=outputs, input_hashes=dict)


def look_at_animation(path: Path) -> None:
    folder = path.parents[1] if path.name == "state.json" else path.parent
    each(
        lambda: plan_outputs(folder / "out.mp4", inputs=[], overwrite=False, compare=False, sheet=False),
        lambda: finished(_animation(folder)),
        RunFolder(folder / "interrupted.mp4.resume").state,
    )


def make_demo(folder: Path) -> None:
    steps = {"animate": {"wall_seconds": 1.0, "cpu_seconds": 2.0, "is_done": True}}
    write_json(folder / "demo.json", {"settings": {"seed": 0}, "steps": steps})


def make_truth(folder: Path) -> None:
    performance = Performance(np.zeros((FRAMES, len(TRACKS))), 25.0)
    points = np.zeros((FRAMES, 68, 2), np.float32)
    write_truth(folder / "truth.parquet", Truth(performance, points, None, {"clip_id": "one", "seed": 1}))


PARSERS = (
    Parser("recipes", 200, make_recipes, check_recipe, spoils=("*.yaml",)),
    Parser("jobs of animate", 240, make_jobs, lambda path: load_jobs(path, layers=())),
    Parser("manifests of curate", 160, make_curation_manifest, read_sources),
    Parser("manifests of preprocess", 240, make_manifests, read_clips),
    Parser("samples", 260, make_sample, read_sample, is_folder=True),
    Parser("index of samples", 120, make_index, read_data),
    Parser(
        "checkpoints",
        200,
        make_checkpoint,
        lambda path: load_checkpoint(path.parent),
        spoils=("*.json", "*.safetensors"),
        is_folder=True,
        mend=hash_again,
    ),
    Parser("public weights", 260, make_tensors, read_weights, is_folder=True),
    Parser("ONNX networks", 60, make_onnx, run_onnx, is_slow=True),
    Parser(
        "face models",
        20,
        make_face_models,
        find_faces,
        spoils=("*.tflite", "manifest.json"),
        is_folder=True,
        is_slow=True,
    ),
    Parser("wheels of weights", 60, make_wheel, take_wheel, never_accepts=True),
    Parser(
        "Whisper folders",
        60,
        make_whisper,
        lambda path: WhisperEncoder.load(path.parent, edges="clamp"),
        is_folder=True,
        is_slow=True,
    ),
    Parser(
        "autoencoder folders", 60, make_kl, lambda path: load_kl(path.parent), is_folder=True, is_slow=True
    ),
    Parser("run checkpoints", 160, make_run, go_on, is_folder=True, mend=hash_again),
    Parser("journals", 160, make_journal, read_journal, is_folder=True, sets_aside=True),
    Parser("outputs of curate", 100, make_curated, read_curated, is_folder=True),
    Parser("outputs of evaluate", 160, make_evaluations, compare_evaluations, is_folder=True),
    Parser("arrays and features of evaluate", 80, make_pair_arrays, read_pair_arrays),
    Parser("outputs of animate", 120, make_animation, look_at_animation, spoils=("*.json",), is_folder=True),
    Parser("gauges", 40, make_gauge, lambda path: load_gauge(path.parent), is_folder=True, is_slow=True),
    Parser("records of demo", 40, make_demo, lambda path: Record(path.parent, {"seed": 0})),
    Parser("truth of synth", 60, make_truth, read_truth),
)
