"""The known checkpoints, and the commands that download, list and remove them."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pexpect
import pytest

from tests import hub
from tests.hub import REVISION, serving
from vipcli.checkpoints import hub_cache
from vipcli.checkpoints.catalog import (
    BY_HUB_NAME,
    INTERLEAVE,
    KNOWN,
    LLAVA,
    ONEVISION,
    VIPLLAVA,
    KnownCheckpoint,
    family_of,
    model_config,
)
from vipcli.errors import ModelError

PICTURE = Path(__file__).parent.parent / "samples" / "shapes.png"
NOWHERE = "http://127.0.0.1:9"


def _meta_model(known: KnownCheckpoint) -> Any:
    """Build the real model class of that shape, without memory for its weights."""
    import torch
    from transformers import LlavaConfig, LlavaOnevisionConfig, VipLlavaConfig
    from transformers.models.llava.modeling_llava import LlavaForConditionalGeneration
    from transformers.models.llava_onevision.modeling_llava_onevision import (
        LlavaOnevisionForConditionalGeneration,
    )
    from transformers.models.vipllava.modeling_vipllava import VipLlavaForConditionalGeneration

    config_class, model_class = {
        VIPLLAVA: (VipLlavaConfig, VipLlavaForConditionalGeneration),
        LLAVA: (LlavaConfig, LlavaForConditionalGeneration),
        INTERLEAVE: (LlavaConfig, LlavaForConditionalGeneration),
        ONEVISION: (LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration),
    }[known.family]
    with torch.device("meta"):
        return model_class(config_class(**model_config(known)))


@pytest.mark.parametrize("name", [name for name in KNOWN if not name.endswith("-si")])
def test_parameter_counts_match_the_model_classes(name: str) -> None:
    known = KNOWN[name]
    assert known.parameters == sum(weight.numel() for weight in _meta_model(known).parameters())


def test_memory_depends_on_precision_and_context() -> None:
    known = KNOWN["vip-llava-7b"]
    full, eight, four = (known.memory(bits) for bits in (16, 8, 4))
    # The vision tower, the projector and the embeddings keep 16 bits.
    assert 0.5 < eight / full < 0.6
    assert 0.3 < four / full < 0.4
    assert known.memory(16, tokens=4096) > full


@pytest.mark.parametrize(
    ("config", "family"),
    [
        ({"model_type": "vipllava"}, VIPLLAVA),
        ({"model_type": "llava"}, LLAVA),
        ({"model_type": "llava", "text_config": {"model_type": "llama"}}, LLAVA),
        ({"model_type": "llava", "text_config": {"model_type": "qwen2"}}, INTERLEAVE),
        ({"model_type": "llava_onevision", "text_config": {"model_type": "qwen2"}}, ONEVISION),
        ({"model_type": "bert"}, None),
        ({}, None),
    ],
)
def test_the_family_is_recognized_by_its_configuration(config: dict[str, Any], family: object) -> None:
    assert family_of(config) is family


def test_short_and_hub_names_are_unique() -> None:
    assert len(BY_HUB_NAME) == len(KNOWN) == 12
    assert all(
        known.hub_name.startswith("llava-hf/") and known.short_name == short for short, known in KNOWN.items()
    )


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (24_800_000, "24.8 MB"),
        (141_000_000_000, "141 GB"),
        (3e15, "3000 TB"),
    ],
)
def test_sizes_are_formatted(size: float, text: str) -> None:
    assert hub_cache.format_size(size) == text


def test_a_full_disk_is_reported_before_a_download() -> None:
    with pytest.raises(ModelError, match=r"someone/model needs 1000 TB more disk space, but .* has only"):
        hub_cache.check_disk_space("someone/model", 10**15)


class Machine:
    """Runs commands with a home of their own and a hub that has one small checkpoint under every name."""

    def __init__(self, home: Path, hub: str) -> None:
        self.home = home
        self._environment = {"PATH": "/usr/bin:/bin", "HF_HOME": str(home), "HOME": str(home)}
        self._environment |= {"HF_ENDPOINT": hub, "VIPCLI_CONFIG": str(home / "config.toml")}

    def __call__(
        self, *words: str, typed: str | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "vipcli", *words],
            capture_output=True,
            text=True,
            timeout=60,
            input=typed or "",
            env=self.environment | environment,
            check=False,
        )

    @property
    def environment(self) -> dict[str, str]:
        return {**self._environment, "PYTHONPATH": os.pathsep.join(sys.path)}


@pytest.fixture
def machine(tiny: Path, tmp_path: Path) -> Any:
    with serving(tiny) as hub:
        yield Machine(tmp_path, hub)


def test_a_checkpoint_is_downloaded_listed_and_removed(machine: Machine, tiny: Path) -> None:
    pulled = machine("models", "pull", "vip-llava-7b")
    assert pulled.returncode == 0, pulled.stderr
    folder = Path(pulled.stdout.strip())
    assert folder.name == REVISION
    assert (folder / "model.safetensors").read_bytes() == (tiny / "model.safetensors").read_bytes()
    assert "of llava-hf/vip-llava-7b-hf" in pulled.stderr

    assert [line[:6] for line in pulled.stderr.splitlines()] == ["note: ", "note: "]

    again = machine("models", "pull", "vip-llava-7b", "--quiet")
    assert again.stdout == pulled.stdout
    for environment in ({"HF_HUB_OFFLINE": "1"}, {"VIPCLI_OFFLINE": "1"}, {"HF_ENDPOINT": NOWHERE}):
        here = machine("models", "pull", "vip-llava-7b", **environment)
        assert here.stdout == pulled.stdout
        assert here.stderr == "note: llava-hf/vip-llava-7b-hf was already downloaded.\n"
    rows = {row["name"]: row for row in json.loads(machine("models", "list", "--json").stdout)}
    assert rows["vip-llava-7b"]["size"] > (tiny / "model.safetensors").stat().st_size
    assert rows["vip-llava-13b"]["size"] is None
    assert rows["bundled"]["default"]

    refused = machine("models", "rm", "vip-llava-7b")
    assert refused.returncode == 2
    assert "--yes" in refused.stderr
    assert folder.exists()
    assert machine("models", "rm", "vip-llava-7b", "--yes").returncode == 0
    assert not folder.exists()
    gone = machine("models", "rm", "vip-llava-7b", "--yes")
    assert gone.returncode == 1
    assert "is not in the cache" in gone.stderr


def test_a_partial_download_is_resumed(machine: Machine, tiny: Path) -> None:
    folder = Path(machine("models", "pull", "someone/model", "--quiet").stdout.strip())
    (folder / "model.safetensors").resolve().unlink()
    (folder / "model.safetensors").unlink()
    assert "folder" in machine("models", "info", "someone/model", "--json").stdout
    assert json.loads(machine("models", "info", "someone/model", "--json").stdout)["folder"] is None
    pulled = machine("models", "pull", "someone/model")
    assert (
        f"Downloading {hub_cache.format_size((tiny / 'model.safetensors').stat().st_size)} of"
        in pulled.stderr
    )
    assert (folder / "model.safetensors").read_bytes() == (tiny / "model.safetensors").read_bytes()


def test_no_download_starts_without_disk_space(tiny: Path, tmp_path: Path) -> None:
    code = """
        import shutil
        from types import SimpleNamespace
        from vipcli.checkpoints import lookup as checkpoints
        shutil.disk_usage = lambda _: SimpleNamespace(free=1000)
        try:
            checkpoints.find("someone/model")
        except checkpoints.ModelError as error:
            print(error)
    """
    with serving(tiny) as hub:
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)],
            capture_output=True,
            text=True,
            timeout=60,
            env={"PATH": "/usr/bin:/bin", "HF_HOME": str(tmp_path), "HF_ENDPOINT": hub},
            check=True,
        )
    assert done.stdout.startswith("someone/model needs ")
    assert "has only 1.0 kB." in done.stdout
    assert not list(tmp_path.rglob("*.safetensors"))


def test_the_default_can_be_chosen(machine: Machine) -> None:
    chosen = machine("models", "use", "vip-llava-13b")
    assert "vip-llava-13b is now the default" in chosen.stderr
    assert "vipcli models pull vip-llava-13b" in chosen.stderr
    rows = {row["name"]: row for row in json.loads(machine("models", "list", "--json").stdout)}
    assert rows["vip-llava-13b"]["default"]
    assert not rows["bundled"]["default"]
    assert machine("models", "use", "nosuch").returncode == 1


def test_info_describes_a_checkpoint_before_it_is_downloaded(machine: Machine) -> None:
    shown = machine("models", "info", "llava-onevision-7b-ov").stdout
    assert "LLaVA-OneVision" in shown
    assert "8.0 B" in shown
    assert "Apache-2.0" in shown
    assert "not downloaded (16.1 GB)" in shown
    bundled = machine("models", "info", "bundled").stdout
    assert "12 M" in bundled
    assert re.search(r"^4 bits +takes [34]\d\.\d MB of memory$", bundled, re.MULTILINE)
    assert machine("models", "pull", "bundled").returncode == 2


def test_a_missing_network_is_explained(tmp_path: Path) -> None:
    done = Machine(tmp_path, "http://127.0.0.1:9")("models", "pull", "vip-llava-7b")
    assert done.returncode == 1
    assert done.stderr == (
        "error: The checkpoint llava-hf/vip-llava-7b-hf is not in the cache, and the hub cannot be reached.\n"
    )


def test_a_checkpoint_is_downloaded_before_a_prompt_needs_its_template(tmp_path: Path) -> None:
    picture = Path(__file__).parent.parent / "samples" / "shapes.png"
    offline = Machine(tmp_path, "http://127.0.0.1:9")
    asked = offline("ask", str(picture), "What?", "--model", "llava-onevision-7b-ov")
    assert asked.returncode == 1
    assert asked.stderr.endswith("is not in the cache, and the hub cannot be reached.\n")
    planned = offline("ask", str(picture), "What?", "--model", "llava-onevision-7b-ov", "--dry-run")
    assert planned.returncode == 2
    assert "its chat template is not known" in planned.stderr


def test_a_checkpoint_of_an_unknown_family_is_refused(tiny: Path, tmp_path: Path) -> None:
    from vipcli.checkpoints import lookup

    folder = tmp_path / "odd"
    shutil.copytree(tiny, folder)
    (folder / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ModelError, match="family 'bert'"):
        lookup.find(str(folder))


def test_unsupported_checkpoints_are_refused_before_their_weights_are_downloaded(
    tiny: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "served"
    shutil.copytree(tiny, folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with serving(folder) as hub:
        pickled = Machine(tmp_path, hub)("models", "pull", "someone/pickled")
    assert pickled.stderr == (
        "error: someone/pickled has no safetensors on the hub, and vipcli loads no other weights: "
        "pickled ones can run code.\n"
    )
    (folder / "pytorch_model.bin").rename(folder / "model.safetensors")
    (folder / "config.json").write_text('{"model_type": "bert"}')
    with serving(folder) as hub:
        asked = Machine(tmp_path, hub)("ask", str(PICTURE), "What?", "--model", "someone/bert")
    assert "is of the family 'bert'. vipcli runs ViP-LLaVA" in asked.stderr
    assert not list((tmp_path / "hub").rglob("*.safetensors"))


def test_the_first_question_announces_its_download(machine: Machine) -> None:
    asked = machine("ask", str(PICTURE), "What?", "--model", "someone/model", "--max-new-tokens", "2")
    assert asked.returncode == 0
    assert asked.stderr.startswith("note: Downloading 445 kB of someone/model.")
    assert asked.stderr.count("Downloading") == 1


def test_offline_settings_are_explained(machine: Machine) -> None:
    shown = machine("models", "pull", "someone/model", HF_HUB_OFFLINE="1").stderr
    assert "is not in the cache, and HF_HUB_OFFLINE is set. Unset it to download the checkpoint." in shown
    shown = machine("models", "pull", "someone/model", VIPCLI_OFFLINE="1").stderr
    assert "is not downloaded, and the setting offline is on (from VIPCLI_OFFLINE)." in shown
    shown = machine("bench", "someone/model", VIPCLI_OFFLINE="1").stderr
    assert "is not in the cache, and offline mode is on. To download it, turn off --offline." in shown
    shown = machine("models", "pull", "someone/model", HF_HOME="/dev/null/home").stderr
    assert shown.splitlines() == [
        "error: The checkpoint someone/model cannot be stored in /dev/null/home/hub (Not a directory)."
    ]


def test_stale_partial_files_are_deleted_and_not_counted(machine: Machine) -> None:
    folder = Path(machine("models", "pull", "someone/model", "--quiet").stdout.strip())
    size = _row(machine)["size"]
    blobs = folder.parents[1] / "blobs"
    stale, fresh, other_kind = (blobs / f"{name}.incomplete" for name in ("aa.1234", "bb.1234", "cc"))
    for file in (stale, fresh, other_kind):
        file.write_bytes(b"x" * 1000)
    for file in (stale, other_kind):
        os.utime(file, (0, 0))
    assert _row(machine)["size"] == size
    (folder / "model.safetensors").resolve().unlink()
    (folder / "model.safetensors").unlink()
    half = _row(machine)
    assert (half["unfinished"], half["family"]) == (True, "")
    assert "unfinished" in machine("models", "list").stdout
    machine("models", "pull", "someone/model")
    # The fresh one may still be written, and the other kind would be resumed.
    assert [file.exists() for file in (stale, fresh, other_kind)] == [False, True, True]
    whole = _row(machine)
    assert (whole["unfinished"], whole["family"]) == (False, "ViP-LLaVA")
    assert whole["parameters"] > 10_000


def test_an_interrupted_download_ends_at_once(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requested, enough = threading.Event(), threading.Event()
    send = hub._Handler._send

    def withhold_weights(self: Any, file: Path, body: bool) -> None:
        if body and file.suffix == ".safetensors":
            requested.set()
            enough.wait(60)
        else:
            send(self, file, body)

    monkeypatch.setattr(hub._Handler, "_send", withhold_weights)
    with serving(tiny) as address:
        child = pexpect.spawn(
            sys.executable,
            ["-m", "vipcli", "models", "pull", "someone/model"],
            env=Machine(tmp_path, address).environment,
            timeout=20,
            encoding="utf-8",
        )
        assert requested.wait(20)
        child.sendintr()
        child.read()
        child.close()
        enough.set()
    assert child.signalstatus == signal.SIGINT


def _row(machine: Machine) -> dict[str, Any]:
    rows: list[dict[str, Any]] = json.loads(machine("models", "list", "--json").stdout)
    return next(row for row in rows if row["name"] == "someone/model")


def test_facts_about_unknown_checkpoints_are_not_guessed(machine: Machine) -> None:
    facts = json.loads(machine("models", "info", "someone/thing", "--json").stdout)
    assert [facts[name] for name in ("family", "limits", "prompt", "input_size")] == [None] * 4
    shown = machine("models", "info", "someone/thing").stdout
    assert "family      not known before it is downloaded\n" in shown
    assert "prompt" not in shown


def test_both_stages_of_onevision_describe_their_training() -> None:
    for size in ("0.5b", "7b", "72b"):
        first, last = (KNOWN[f"llava-onevision-{size}-{stage}"] for stage in ("si", "ov"))
        assert first.limits == "Trained on single pictures in fine tiles, and not on marks."
        assert last.limits == ONEVISION.limits
        assert "video" in last.limits


def test_a_default_that_an_environment_variable_overrides_gets_a_note(machine: Machine, tiny: Path) -> None:
    shown = machine("models", "use", "bundled", VIPCLI_MODEL="vip-llava-7b").stderr
    assert "note: VIPCLI_MODEL is set to vip-llava-7b, which takes precedence until it is unset.\n" in shown
    settings = machine.home / "config.toml"
    machine("models", "use", os.path.relpath(tiny))
    assert Path(settings.read_text().split('"')[1]).is_absolute()
    settings.write_text("colour = 1\n")
    assert "which is not a setting" in machine("models", "use", "bundled").stderr
    settings.write_text("model = \n")
    assert "is not valid TOML" in machine("models", "use", "bundled").stderr
    assert settings.read_text() == "model = \n"


@pytest.mark.parametrize("key", ["\x03", "\x04"])
def test_interrupting_the_confirmation_is_an_interruption(machine: Machine, key: str) -> None:
    machine("models", "pull", "someone/model")
    child = pexpect.spawn(
        sys.executable,
        ["-m", "vipcli", "models", "rm", "someone/model"],
        env=machine.environment,
        timeout=60,
        encoding="utf-8",
    )
    child.expect_exact("[y/N]:")
    child.send(key)
    output = child.read()
    child.close()
    assert "Traceback" not in output
    assert child.signalstatus == signal.SIGINT
    assert REVISION in machine("models", "info", "someone/model", "--json").stdout
