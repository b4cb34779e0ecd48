"""Weights of an encoder from a file: the answers of the public weights, and every file that is refused."""

from __future__ import annotations

import csv
import hashlib
import json

import av
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from avglance.errors import CheckpointError
from avglance.media import VideoReader
from avglance.parts.mobilenets import MOBILENETS, MobileNetV1Half, YAMNet
from avglance.parts.weights import load_encoder_weights
from avglance.views import CLIP_SAMPLES, MEL_FRAMES, logmel

FILES = {
    "mobilenetv1_050": "mobilenetv1_050_160_imagenet",
    "mobilenetv2_100_same": "mobilenetv2_100_imagenet",
    "yamnet": "yamnet",
}
PICTURES = [
    ("mobilenetv1_050", 160, "mobilenetv1_050_160_prob"),
    ("mobilenetv2_100_same", 224, "mobilenetv2_100_prob"),
]
TOLERANCE = 0.01  # of probabilities and scores: libraries resize and resample differently


# ---- the answers of the public weights ----


@pytest.fixture
def expected(shared_data):
    return json.loads((shared_data / "samples" / "expected.json").read_text(encoding="utf-8"))


def classifier(shared_data, name):
    """The encoder with the public weights, and what its file's own classifier says of a vector (n, D)."""
    path = shared_data / "weights" / f"{FILES[name]}.safetensors"
    encoder = MOBILENETS[name]()
    load_encoder_weights(encoder, path)
    tensors = load_file(path)
    weight, bias = (tensors[f"classifier.{part}"].float() for part in ("weight", "bias"))
    return encoder.eval(), lambda vector: vector @ weight.T + bias


def centre(path, side):
    """The middle square of a picture whose short side is 8/7 of it: uint8 (1, 3, side, side)."""
    picture = Image.open(path).convert("RGB")
    scale = side * 8 / 7 / min(picture.size)
    picture = picture.resize([round(n * scale) for n in picture.size], Image.Resampling.BILINEAR)
    left, top = ((n - side) // 2 for n in picture.size)
    square = np.array(picture.crop((left, top, left + side, top + side)))
    return torch.from_numpy(square).permute(2, 0, 1)[None]


@pytest.mark.parametrize(("name", "side", "key"), PICTURES)
def test_pictures_are_known_as_well_as_by_the_public_network(shared_data, expected, name, side, key):
    encoder, classify = classifier(shared_data, name)
    for row in expected["pictures"]:
        with torch.no_grad():
            logits = classify(encoder(centre(shared_data / row["file"], side))[1])[0]
        assert float(logits.softmax(0)[row["class_index"]]) == pytest.approx(row[key], abs=TOLERANCE), row
        if name == "mobilenetv2_100_same":
            logit = float(logits[row["class_index"]])
            assert logit == pytest.approx(row["mobilenetv2_100_logit"], abs=TOLERANCE)


def patches(samples):
    """Log-mels of 0.96 s every 0.48 s: (n, 1, 96, 64)."""
    samples = np.pad(samples, (0, max(0, CLIP_SAMPLES - len(samples))))
    mel = logmel(samples[None])[0]
    starts = range(0, len(mel) - MEL_FRAMES + 1, MEL_FRAMES // 2)
    return torch.from_numpy(np.stack([mel[n : n + MEL_FRAMES] for n in starts])[:, None])


def through_the_reader(path):
    with VideoReader(path) as reader:
        return np.concatenate([piece.samples for piece in reader.sound(0.0, 1e6)])


def end_to_end(path):
    """All sound of a file with its timestamps left out, as the expected figures were made."""
    resampler = av.AudioResampler("flt", "mono", 16_000)
    with av.open(str(path)) as box:
        frames = [out for frame in [*box.decode(audio=0), None] for out in resampler.resample(frame)]
    return np.concatenate([frame.to_ndarray().ravel() for frame in frames])


@pytest.mark.parametrize(("read", "ending"), [(through_the_reader, ".wav"), (end_to_end, ".mp4")])
def test_sounds_are_known_as_well_as_by_yamnet(shared_data, expected, read, ending):
    encoder, classify = classifier(shared_data, "yamnet")
    with open(shared_data / "weights" / "yamnet_class_map.csv", encoding="utf-8") as file:
        names = [row["display_name"] for row in csv.DictReader(file)]
    rows = [row for row in expected["sounds"] if row["file"].endswith(ending)]
    assert rows
    for row in rows:
        sounds = patches(read(shared_data / row["file"]))
        assert len(sounds) == row["patches"]
        with torch.no_grad():
            vectors = encoder(sounds)[1]
            scores = classify(vectors).sigmoid().mean(0)
        assert float(vectors.mean(0).norm()) == pytest.approx(row["embedding_l2"], abs=0.01)
        for index, label, score in row["top3"]:
            assert names[index] == label
            assert float(scores[index]) == pytest.approx(score, abs=TOLERANCE), (row["file"], label)


def test_silence_is_heard_as_silence(shared_data):
    encoder, classify = classifier(shared_data, "yamnet")
    with torch.no_grad():
        scores = classify(encoder(patches(np.zeros(48_000, np.float32)))[1]).mean(0)
    assert 494 in scores.topk(10).indices  # "Silence"


# ---- files that fit, and files that do not ----


@pytest.fixture(scope="module")
def tensors():
    torch.manual_seed(1)
    found = {name: x.half().contiguous() for name, x in MobileNetV1Half().net.state_dict().items()}
    return {**found, "classifier.weight": torch.zeros(5, 512), "classifier.bias": torch.zeros(5)}


def write(folder, tensors):
    save_file(tensors, folder / "net.safetensors")
    return folder / "net.safetensors"


def test_a_file_fills_the_encoder_in_float32_and_its_checksum_is_told(tmp_path, tensors):
    encoder, path = MobileNetV1Half(), write(tmp_path, tensors)
    assert load_encoder_weights(encoder, str(path)) == hashlib.sha256(path.read_bytes()).hexdigest()
    for name, x in encoder.net.state_dict().items():
        assert x.dtype == torch.float32
        assert torch.equal(x, tensors[name].float())
    deep = encoder.net.blocks[0].pointwise.weight
    assert deep.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16])
def test_any_real_numbers_will_do(tmp_path, tensors, kind):
    path = write(tmp_path, {name: x.to(kind) for name, x in tensors.items()})
    load_encoder_weights(MobileNetV1Half(), path)


def less(tensors):
    del tensors["blocks.3.depthwise.bias"]


def more(tensors):
    tensors["blocks.13.depthwise.bias"] = torch.zeros(8)


def other(tensors):
    tensors["stem.weight"] = torch.zeros(16, 1, 3, 3)


def whole(tensors):
    tensors["stem.bias"] = torch.zeros(16, dtype=torch.int8)


def infinite(tensors):
    tensors["stem.bias"] = torch.full((16,), 1e300, dtype=torch.float64)


def lost(tensors):
    tensors["stem.bias"] = torch.full((16,), float("nan"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (less, "1 of the 54 weights of MobileNetV1Half are missing, first 'blocks.3.depthwise.bias'"),
        (more, "1 weights are not of MobileNetV1Half, first 'blocks.13.depthwise.bias'"),
        (other, r"stem.weight is \(16, 1, 3, 3\), MobileNetV1Half has \(16, 3, 3, 3\)"),
        (whole, "stem.bias holds torch.int8, not real numbers"),
        (infinite, "stem.bias holds numbers that are not finite"),
        (lost, "stem.bias holds numbers that are not finite"),
    ],
)
def test_a_file_that_does_not_fit_is_named_and_changes_nothing(tmp_path, tensors, change, says):
    wrong = dict(tensors)
    change(wrong)
    path, encoder = write(tmp_path, wrong), MobileNetV1Half()
    before = {name: x.clone() for name, x in encoder.state_dict().items()}
    with pytest.raises(CheckpointError, match=says) as error:
        load_encoder_weights(encoder, path)
    assert error.value.where == str(path)
    assert all(torch.equal(x, before[name]) for name, x in encoder.state_dict().items())


def test_the_weights_of_another_network(tmp_path, tensors):
    with pytest.raises(CheckpointError, match="54 of the 54 weights of YAMNet are missing"):
        load_encoder_weights(YAMNet(), write(tmp_path, tensors))


@pytest.mark.parametrize("zipped", [True, False])
def test_pickles_are_refused_by_content(tmp_path, tensors, zipped):
    path = tmp_path / "net.safetensors"
    torch.save(tensors, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match="pickled"):
        load_encoder_weights(MobileNetV1Half(), path)


@pytest.mark.parametrize("content", [b"", b"\x08", b"<html>no such page</html>", b"\xff" * 64])
def test_files_that_are_no_safetensors(tmp_path, content):
    path = tmp_path / "net.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        load_encoder_weights(MobileNetV1Half(), path)


def test_a_copy_that_broke_off(tmp_path, tensors):
    path = write(tmp_path, tensors)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        load_encoder_weights(MobileNetV1Half(), path)


def test_no_file(tmp_path):
    with pytest.raises(CheckpointError, match="no such file of weights"):
        load_encoder_weights(MobileNetV1Half(), tmp_path / "absent.safetensors")
    with pytest.raises(CheckpointError, match="is not a file"):
        load_encoder_weights(MobileNetV1Half(), tmp_path)
