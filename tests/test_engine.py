"""The engine against transformers itself, on small checkpoints of the true classes."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoProcessor, LlavaForConditionalGeneration, VipLlavaForConditionalGeneration

from vipcli.asking.interface import Request, Sampling, Setup
from vipcli.checkpoints import lookup
from vipcli.checkpoints.prompt_forms import HUMAN, VICUNA, PromptForm, Turn
from vipcli.checkpoints.stops import Stop
from vipcli.engine.local import LocalModel
from vipcli.engine.transcript import Transcript
from vipcli.errors import ModelError, PromptError
from vipcli.geometry import FITS, Fit
from vipcli.pictures.fitting import square

QUESTION = "What is within the red rectangle?"
LENGTH = 24


@pytest.fixture(scope="module")
def model(tiny: Path) -> LocalModel:
    return LocalModel(lookup.find(str(tiny)))


def picture(width: int = 60, height: int = 41) -> np.ndarray:
    return np.random.default_rng(width * height).integers(0, 256, (height, width, 3), np.uint8)


def request(form: PromptForm = HUMAN, image: np.ndarray | None = None, **kwargs: Any) -> Request:
    kwargs.setdefault("sampling", Sampling(max_new_tokens=LENGTH))
    return Request(
        prompt=form.build([Turn(QUESTION)]),
        images=(picture() if image is None else image,),
        user_texts=(QUESTION,),
        **kwargs,
    )


def reference_ids(
    folder: Path, prompt: str, image: np.ndarray, model_class: Any = VipLlavaForConditionalGeneration
) -> list[int]:
    """The token ids that the documentation's own code generates."""
    processor = AutoProcessor.from_pretrained(folder, backend="pil")
    model = model_class.from_pretrained(folder, dtype=torch.float32)
    inputs = processor(images=image, text=prompt, return_tensors="pt")
    output = model.generate(**inputs, do_sample=False, max_new_tokens=LENGTH)
    return list(output[0, inputs["input_ids"].shape[1] :].tolist())


@pytest.mark.parametrize("form", [HUMAN, VICUNA], ids=lambda form: form.name)
@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("shape", [(60, 41), (28, 28), (17, 90), (400, 300)])
def test_token_ids_are_those_of_transformers(
    tiny: Path, model: LocalModel, form: PromptForm, fit: Fit, shape: tuple[int, int]
) -> None:
    image = picture(*shape)
    fitted = square(image, fit, 28, (122, 116, 104))
    reply = model.answer(request(form, image, fit=fit))
    assert list(reply.token_ids) == reference_ids(tiny, form.build([Turn(QUESTION)]), fitted)
    assert reply.ended == ("length" if len(reply.token_ids) == LENGTH else "stop")


def test_another_family_uses_its_own_template(tiny_llava: Path) -> None:
    checkpoint = lookup.find(str(tiny_llava))
    form = checkpoint.form("template")
    processor = AutoProcessor.from_pretrained(tiny_llava, backend="pil")
    messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTION}]}]
    prompt = form.build([Turn(QUESTION)])
    assert prompt == processor.apply_chat_template(messages, add_generation_prompt=True)
    image = picture(50, 50)
    reply = LocalModel(checkpoint).answer(request(form, image))
    assert list(reply.token_ids) == reference_ids(tiny_llava, prompt, image, LlavaForConditionalGeneration)


@pytest.mark.parametrize("name", ["vision_feature_layer", "vision_feature_layers"])
def test_vision_layers_are_read_under_either_name(
    tiny: Path, tmp_path: Path, model: LocalModel, name: str
) -> None:
    folder = tmp_path / "renamed"
    shutil.copytree(tiny, folder)
    config = json.loads((folder / "config.json").read_text())
    layers = config.pop("vision_feature_layer", None) or config.pop("vision_feature_layers")
    (folder / "config.json").write_text(json.dumps({**config, name: layers}))
    renamed = LocalModel(lookup.find(str(folder)))
    assert renamed.answer(request()).token_ids == model.answer(request()).token_ids


def test_padding_has_the_mean_color(tiny: Path) -> None:
    assert lookup.find(str(tiny)).padding == (122, 116, 104)
    padded = square(picture(60, 41), "pad", 28, (122, 116, 104))
    assert padded.shape == (60, 60, 3)
    assert (padded[:9] == (122, 116, 104)).all()
    assert (padded[50:] == (122, 116, 104)).all()
    assert (padded[9:50] == picture(60, 41)).all()


def test_a_mark_in_the_picture_changes_the_answer(model: LocalModel) -> None:
    plain = picture(60, 60)
    marked = plain.copy()
    marked[10:50, 10:14] = (255, 0, 0)
    assert model.answer(request(image=plain)).token_ids != model.answer(request(image=marked)).token_ids


def test_streamed_pieces_add_up_to_the_answer(model: LocalModel) -> None:
    pieces: list[str] = []
    reply = model.answer(request(), pieces.append)
    assert len(pieces) > 3
    assert "".join(pieces) == reply.text
    assert set(reply.seconds) == {"prepare", "first_token", "generate"}


def test_a_stop_ends_the_answer_and_is_not_shown(model: LocalModel) -> None:
    whole = model.answer(request()).text
    stop = whole[10:13]
    pieces: list[str] = []
    reply = model.answer(request(stops=(Stop(stop),)), pieces.append)
    assert reply.ended == "stop"
    assert reply.text == whole[: whole.find(stop)].strip()
    assert "".join(pieces) == reply.text
    assert len(reply.token_ids) < LENGTH


def test_the_probability_is_the_mean_over_the_tokens_of_the_answer(tiny: Path, model: LocalModel) -> None:
    reply = model.answer(request())
    raw = VipLlavaForConditionalGeneration.from_pretrained(tiny, dtype=torch.float32)
    processor = AutoProcessor.from_pretrained(tiny, backend="pil")
    image = square(picture(), "pad", 28, (122, 116, 104))
    inputs = processor(images=image, text=HUMAN.build([Turn(QUESTION)]), return_tensors="pt")
    start = inputs["input_ids"].shape[1]
    inputs["input_ids"] = torch.cat([inputs["input_ids"], torch.tensor([reply.token_ids])], dim=1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    with torch.no_grad():
        logits = raw(**inputs).logits[0, start - 1 : -1]
    chosen = logits.softmax(-1)[torch.arange(LENGTH), torch.tensor(reply.token_ids)]
    assert reply.probability == pytest.approx(float(chosen.mean()), abs=1e-4)


def test_sampling_depends_on_the_seed_only(model: LocalModel) -> None:
    def sampled(seed: int) -> tuple[int, ...]:
        sampling = Sampling(max_new_tokens=LENGTH, temperature=1.5, top_p=0.95, seed=seed)
        return model.answer(request(sampling=sampling)).token_ids

    assert sampled(1) == sampled(1)
    assert len({sampled(seed) for seed in range(4)}) > 1


def test_sampled_token_ids_are_those_of_transformers(tiny: Path, model: LocalModel) -> None:
    raw = VipLlavaForConditionalGeneration.from_pretrained(tiny, dtype=torch.float32)
    processor = AutoProcessor.from_pretrained(tiny, backend="pil")
    image = square(picture(), "pad", 28, (122, 116, 104))
    inputs = processor(images=image, text=HUMAN.build([Turn(QUESTION)]), return_tensors="pt")
    torch.manual_seed(5)
    options = {"do_sample": True, "temperature": 0.9, "top_p": 0.8, "top_k": 0}
    output = raw.generate(**inputs, **options, max_new_tokens=LENGTH)
    sampling = Sampling(max_new_tokens=LENGTH, temperature=0.9, top_p=0.8, seed=5)
    reply = model.answer(request(sampling=sampling))
    assert list(reply.token_ids) == output[0, inputs["input_ids"].shape[1] :].tolist()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), "ran out of memory while answering"),
        (RuntimeError("MPS backend out of memory"), "ran out of memory while answering"),
        (RuntimeError("probability tensor contains inf"), "failed while answering (probability tensor"),
    ],
)
def test_a_failure_while_answering_is_one_sentence(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    model = LocalModel(lookup.find(str(tiny)))

    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(model._model, "generate", fail)
    with pytest.raises(ModelError) as caught:
        model.answer(request())
    assert message in str(caught.value)


@pytest.mark.parametrize("typed", ["what is <image>", "<s>", "a</s>b", "<pad>"])
def test_control_tokens_are_refused(model: LocalModel, typed: str) -> None:
    forged = Request(HUMAN.build([Turn(typed)]), (picture(),), user_texts=(typed,))
    with pytest.raises(PromptError, match="a control token of this checkpoint"):
        model.answer(forged)


@pytest.mark.parametrize("typed", ["naïve", "日本語", "🦊 < > </ s >", "# ## not three", "tab\tand\nline"])
def test_unusual_characters_are_accepted(model: LocalModel, typed: str) -> None:
    request = Request(
        HUMAN.build([Turn(typed)]), (picture(),), user_texts=(typed,), sampling=Sampling(max_new_tokens=2)
    )
    assert len(model.answer(request).token_ids) == 2


def test_a_prompt_beyond_the_context_is_refused(model: LocalModel) -> None:
    long = Request(HUMAN.build([Turn("why " * 800)]), (picture(),))
    with pytest.raises(
        PromptError, match=r"but the model holds 1,024, including the answer\. Ask something shorter"
    ):
        model.answer(long)


def test_an_answer_ends_at_the_end_of_the_context(model: LocalModel) -> None:
    prompt = HUMAN.build([Turn("why " * 280)])
    reply = model.answer(Request(prompt, (picture(),), sampling=Sampling(max_new_tokens=5000)))
    assert reply.ended == "length"
    assert reply.prompt_tokens + len(reply.token_ids) == 1024


@pytest.mark.parametrize(("name", "expected"), [("float32", "float32"), ("bfloat16", "bfloat16")])
def test_the_dtype_is_as_set(tiny: Path, name: str, expected: str) -> None:
    model = LocalModel(lookup.find(str(tiny)), Setup(dtype=name))
    assert model.facts.dtype == expected
    assert model.answer(request(sampling=Sampling(max_new_tokens=2))).model.dtype == expected


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_missing_device_is_named(tiny: Path) -> None:
    with pytest.raises(ModelError, match="no cuda device"):
        LocalModel(lookup.find(str(tiny)), Setup(device="cuda"))


def damaged(tiny: Path, folder: Path, name: str) -> Path:
    """A copy of a checkpoint with this damage."""
    shutil.copytree(tiny, folder)
    weights = folder / "model.safetensors"
    match name:
        case "truncated weights":
            weights.write_bytes(weights.read_bytes()[:-1000])
        case "empty weights":
            weights.write_bytes(b"")
        case "no weights":
            weights.unlink()
        case "pickled weights":
            weights.rename(folder / "pytorch_model.bin")
        case "missing weights":
            from safetensors.torch import load_file, save_file

            tensors = load_file(weights)
            del tensors[next(name for name in tensors if name.endswith("lm_head.weight"))]
            save_file(tensors, weights, metadata={"format": "pt"})
        case "wrong shapes":
            config = json.loads((folder / "config.json").read_text())
            config["text_config"]["intermediate_size"] = 48
            (folder / "config.json").write_text(json.dumps(config))
        case "no tokenizer":
            (folder / "tokenizer.json").unlink()
        case "broken tokenizer":
            (folder / "tokenizer.json").write_text("{")
        case "no config":
            (folder / "config.json").unlink()
        case "broken config":
            (folder / "config.json").write_text("[1")
        case "unknown family":
            (folder / "config.json").write_text('{"model_type": "bert"}')
        case "broken processor":
            (folder / "processor_config.json").write_text("nonsense")
    return folder


@pytest.mark.parametrize(
    "damage",
    [
        "truncated weights",
        "empty weights",
        "no weights",
        "pickled weights",
        "missing weights",
        "wrong shapes",
        "no tokenizer",
        "broken tokenizer",
        "no config",
        "broken config",
        "unknown family",
        "broken processor",
    ],
)
def test_a_damaged_checkpoint_is_named_in_one_sentence(tiny: Path, tmp_path: Path, damage: str) -> None:
    folder = damaged(tiny, tmp_path / "damaged", damage)
    with pytest.raises(ModelError) as caught:
        LocalModel(lookup.find(str(folder)))
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)
    assert str(caught.value).endswith(".")


def test_code_that_comes_with_a_checkpoint_is_never_run(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, trace = tmp_path / "with-code", tmp_path / "was-run"
    shutil.copytree(tiny, folder)
    (folder / "custom.py").write_text(f"open({str(trace)!r}, 'w').close()\nclass Thing: ...\n")
    settings = {
        "processor_config.json": ("image_processor", "AutoImageProcessor"),
        "tokenizer_config.json": (None, "AutoTokenizer"),
        "config.json": (None, "AutoModel"),
    }
    for name, (part, auto_class) in settings.items():
        content = json.loads((folder / name).read_text())
        (content[part] if part else content)["auto_map"] = {auto_class: "custom.Thing"}
        if part:
            # A class that transformers does not know makes it look for the checkpoint's code.
            content[part]["image_processor_type"] = "Thing"
        (folder / name).write_text(json.dumps(content))
    # Answer yes to any question.
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 10))
    with contextlib.suppress(ModelError):
        LocalModel(lookup.find(str(folder)))
    assert not trace.exists()


class ByteTokenizer:
    """A tokenizer whose tokens are bytes."""

    def decode(self, ids: list[int], **_: object) -> str:
        return bytes(ids).decode("utf-8", errors="replace")


@pytest.mark.parametrize(
    ("raw", "stops", "text"),
    [
        ("  A cat.\n", ("###",), "A cat."),
        ("A cat.###Human: and", ("###",), "A cat."),
        ("A # and ## are fine", ("###",), "A # and ## are fine"),
        ("ends in ##", ("###",), "ends in ##"),
        ("###", ("###",), ""),
        ("", ("###",), ""),
        ("naïve 日本 🦊", ("###",), "naïve 日本 🦊"),
        ("one</s>two", ("</s>",), "one"),
        ("one</s>two###", ("###", "</s>"), "one"),
        ("ends in </", ("###", "</s>"), "ends in </"),
        ("a STOP b END", ("END", "STOP"), "a"),
        ("line one\n\nline two  ", (), "line one\n\nline two"),
    ],
)
def test_a_transcript_shows_settled_text_only(raw: str, stops: tuple[str, ...], text: str) -> None:
    pieces: list[str] = []
    transcript = Transcript(ByteTokenizer(), tuple(map(Stop, stops)), pieces.append)
    for byte in raw.encode():
        transcript.add(byte)
        if transcript.is_over:
            break
    transcript.finish()
    assert transcript.text == text
    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)
    assert transcript.shown_tokens == len(raw[: raw.find(text) + len(text)].encode()) * bool(text)


def test_quick_imports_leave_transformers_complete() -> None:
    code = """
        import gc
        from vipcli.engine import local
        import transformers
        from transformers import AutoModel, AutoProcessor, BertConfig, CLIPModel, pipeline
        from transformers.models import auto
        from transformers.models.bert import modeling_bert
        print(gc.isenabled(), AutoModel.__module__)
        print(modeling_bert.BertModel is transformers.BertModel)
    """
    process = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    assert process.stdout == "True transformers.models.auto.modeling_auto\nTrue\n"
