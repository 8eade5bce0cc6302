"""Finding checkpoints: in folders, in the hub's cache, and on a hub that refuses."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from vipcli.checkpoints import lookup
from vipcli.checkpoints.catalog import LLAVA, VIPLLAVA
from vipcli.checkpoints.prompt_forms import HUMAN, LLAVA_FORM
from vipcli.errors import ModelError, UsageError

REVISION = "0123456789abcdef0123456789abcdef01234567"


def test_family_and_input_size_are_read_from_a_folder(tiny: Path) -> None:
    found = lookup.find(str(tiny))
    assert (found.family, found.folder, found.revision) == (VIPLLAVA, tiny, None)
    assert found.input_size == 28
    assert found.form().name == "human"
    assert found.form("vicuna").name == "vicuna"


def test_llava_has_its_documented_form_and_a_template(tiny_llava: Path) -> None:
    checkpoint = lookup.find(str(tiny_llava))
    assert checkpoint.family == LLAVA
    assert checkpoint.form() == LLAVA_FORM
    assert checkpoint.form("llava") == LLAVA_FORM
    assert checkpoint.form("template") == checkpoint.template
    assert checkpoint.form("human") == HUMAN


def test_a_missing_template_is_an_error(tiny: Path) -> None:
    with pytest.raises(UsageError, match="has no chat template"):
        lookup.find(str(tiny)).form("template")


def test_settings_are_found_in_the_files_of_older_checkpoints(tiny_llava: Path, tmp_path: Path) -> None:
    folder = tmp_path / "older"
    shutil.copytree(tiny_llava, folder)
    nested = json.loads((folder / "processor_config.json").read_text()).pop("image_processor")
    (folder / "processor_config.json").unlink()
    (folder / "preprocessor_config.json").write_text(json.dumps({**nested, "image_mean": [0.5, 0.5, 0.5]}))
    template = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").unlink()
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": template}))
    found = lookup.find(str(folder))
    assert found.padding == (127, 127, 127)
    assert found.template is not None
    assert found.template.template == template
    assert found.template.tokens["bos_token"] == "<s>"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("./nowhere", "There is no checkpoint folder at ./nowhere."),
        ("/nowhere/at/all", "There is no checkpoint folder"),
        ("vip-lava-7b", "Did you mean vip-llava-7b?"),
        ("qqq", "vipcli models list shows the known ones"),
        ("a b/c", "There is no checkpoint called 'a b/c'"),
        ("a/b/c", "There is no checkpoint folder at a/b/c."),
    ],
)
def test_unknown_names_are_refused(name: str, message: str) -> None:
    for look in (lookup.find, lookup.peek):
        with pytest.raises(ModelError) as caught:
            look(name)
        assert message in str(caught.value)


def test_a_file_is_not_a_checkpoint(tiny: Path) -> None:
    with pytest.raises(ModelError, match="is a file"):
        lookup.find(str(tiny / "config.json"))


def test_a_folder_has_no_revision(tiny: Path) -> None:
    with pytest.raises(UsageError, match="Leave out revision"):
        lookup.find(str(tiny), revision="main")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("chat_template.jinja", b"\xff\xfe"),
        ("preprocessor_config.json", b'{"image_mean": null}'),
        ("preprocessor_config.json", b'{"image_mean": ["a", "b", "c"]}'),
        ("tokenizer_config.json", b'{"bos_token": {"x": 1}, "chat_template": "{{ messages }}"}'),
    ],
)
def test_odd_settings_are_tolerated(tiny: Path, tmp_path: Path, file: str, content: bytes) -> None:
    folder = tmp_path / "odd"
    shutil.copytree(tiny, folder)
    (folder / "processor_config.json").write_text("{}")
    (folder / file).write_bytes(content)
    assert lookup.find(str(folder)).padding == (122, 116, 104)


@pytest.mark.parametrize("name", ["foo/bar--baz", "foo/.bar", "foo/bar.git"])
def test_names_that_are_invalid_on_the_hub_are_refused(name: str) -> None:
    with pytest.raises(ModelError, match="not a valid name for the hub"):
        lookup.peek(name)


def test_an_unknown_checkpoint_is_assumed_to_be_vip_llava() -> None:
    assert lookup.peek("someone/else").family_is_guess
    assert not lookup.peek("vip-llava-7b").family_is_guess
    with pytest.raises(UsageError, match="is not downloaded yet"):
        lookup.peek("someone/else").form("template")


def test_peeking_at_a_checkpoint_before_it_is_downloaded() -> None:
    peeked = lookup.peek("vip-llava-13b")
    assert peeked.name == "llava-hf/vip-llava-13b-hf"
    assert peeked.family == VIPLLAVA
    assert peeked.folder is None
    assert peeked.padding == (122, 116, 104)


def add_to_cache(home: Path, source: Path, name: str) -> None:
    """Add a checkpoint to the hub's cache, as a download does."""
    repository = home / "hub" / f"models--{name.replace('/', '--')}"
    shutil.copytree(source, repository / "snapshots" / REVISION)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(REVISION)


def run_python(code: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in another process, since the hub's library reads its variables when it is imported."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": "/usr/bin:/bin", "HF_HOME": str(home), "HOME": str(home), **environment},
        check=False,
    )


def test_cached_checkpoints_are_found_offline(tiny: Path, tmp_path: Path) -> None:
    add_to_cache(tmp_path, tiny, "someone/tiny")
    code = """
        from vipcli.checkpoints import lookup as checkpoints
        for found in (checkpoints.find("someone/tiny", offline=True), checkpoints.peek("someone/tiny")):
            print(found.name, found.revision, found.input_size, found.folder.is_dir())
        try:
            checkpoints.find("someone/other", offline=True)
        except checkpoints.ModelError as error:
            print(error)
    """
    done = run_python(code, tmp_path, HF_ENDPOINT="http://127.0.0.1:9")
    assert done.stdout.splitlines() == [
        *[f"someone/tiny {REVISION} 28 True"] * 2,
        "The checkpoint someone/other is not in the cache, and offline mode is on. "
        "To download it, turn off offline.",
    ], done.stderr


class Hub(BaseHTTPRequestHandler):
    """A hub that refuses in the ways of the real one."""

    def do_GET(self) -> None:
        code, headers = {
            "gated": (403, {"X-Error-Code": "GatedRepo"}),
            "private": (401, {"X-Error-Code": "RepoNotFound"}),
            "missing": (404, {"X-Error-Code": "RepoNotFound"}),
            "expired": (403, {}),
            "norev": (404, {"X-Error-Code": "RevisionNotFound"}),
            "ill": (500, {}),
        }.get(next(iter(self.path.split("/")[3:]), ""), (404, {}))
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_HEAD = do_GET  # noqa: N815 - the name that the library looks for

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_refusals_of_the_hub_are_explained(hub: str, tmp_path: Path) -> None:
    code = """
        from vipcli.checkpoints import lookup as checkpoints
        for name in ("gated", "private", "missing", "expired", "norev@v2", "norev", "ill"):
            name, _, revision = name.partition("@")
            try:
                checkpoints.find(f"{name}/model", revision=revision or None)
            except checkpoints.ModelError as error:
                print(error)
    """
    done = run_python(code, tmp_path, HF_ENDPOINT=hub)
    gated, private, missing, expired, norev, nomain, ill = done.stdout.splitlines()
    assert (
        gated == "The checkpoint gated/model is gated. Accept its terms on its hub page, then set HF_TOKEN."
    )
    assert private.endswith("is not on the hub, or is private. Check its name, or set HF_TOKEN.")
    assert missing.endswith("is not on the hub, or you have no access to it. Check its name.")
    assert expired.endswith("is gated, or HF_TOKEN is wrong or expired. Check its hub page and HF_TOKEN.")
    assert nomain == "The checkpoint norev/model has no revision 'main'."
    assert norev == "The checkpoint norev/model has no revision 'v2'."
    assert ill.startswith("The checkpoint ill/model cannot be downloaded (Server error '500")
    assert ill.endswith("). Try again later.")
    assert "Traceback" not in done.stderr


def test_a_missing_network_is_explained(tmp_path: Path) -> None:
    code = """
        from vipcli.checkpoints import lookup as checkpoints
        try:
            checkpoints.find("someone/model")
        except checkpoints.ModelError as error:
            print(error)
    """
    done = run_python(code, tmp_path, HF_ENDPOINT="http://127.0.0.1:9")
    assert done.stdout == "The checkpoint someone/model is not in the cache, and the hub cannot be reached.\n"


def test_a_stopped_download_counts_as_missing(tiny: Path, tmp_path: Path) -> None:
    add_to_cache(tmp_path, tiny, "someone/tiny")
    snapshot = tmp_path / "hub" / "models--someone--tiny" / "snapshots" / REVISION
    (snapshot / "model.safetensors").unlink()
    code = """
        from vipcli.checkpoints import lookup as checkpoints
        print(checkpoints.peek("someone/tiny").folder)
        try:
            checkpoints.find("someone/tiny", offline=True)
        except checkpoints.ModelError as error:
            print(error)
    """
    peeked, message = run_python(code, tmp_path).stdout.splitlines()
    assert peeked == "None"
    assert "has no weights" in message


def test_a_missing_weight_file_is_named(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sharded"
    shutil.copytree(tiny, folder)
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    with pytest.raises(ModelError, match="lacks 1 of its 2 weight files, including model-00002-of-00002"):
        lookup.find(str(folder))


def copy_with_config(source: Path, folder: Path, **settings: object) -> Path:
    """Copy a checkpoint and change its configuration; None removes a setting."""
    shutil.copytree(source, folder)
    config = json.loads((folder / "config.json").read_text()) | settings
    config = {name: value for name, value in config.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"text_config": None}, "its config.json lacks text_config. Download it again."),
        ({"text_config": {}}, "its config.json lacks text_config. Download it again."),
        ({"vision_config": "big"}, "its config.json lacks vision_config. Download it again."),
        ({"model_type": None}, "names no family. vipcli runs ViP-LLaVA, "),
        (
            {"quantization_config": {"quant_method": "gptq", "bits": 4}},
            "was quantized with gptq, which vipcli does not run. Use the 16-bit checkpoint",
        ),
    ],
)
def test_an_unusable_configuration_is_refused(
    tiny: Path, tmp_path: Path, settings: dict[str, object], message: str
) -> None:
    folder = copy_with_config(tiny, tmp_path / "changed", **settings)
    with pytest.raises(ModelError) as caught:
        lookup.find(str(folder))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("tokenizer.json", "lacks its tokenizer: .* holds no tokenizer.json and no tokenizer.model"),
        ("processor_config.json", "lacks its image processor: .* holds no preprocessor_config.json"),
    ],
)
def test_a_checkpoint_needs_its_tokenizer_and_image_processor(
    tiny: Path, tmp_path: Path, file: str, message: str
) -> None:
    folder = copy_with_config(tiny, tmp_path / "changed")
    (folder / file).unlink()
    with pytest.raises(ModelError, match=message):
        lookup.find(str(folder))


def test_deeply_nested_settings_are_reported(tiny: Path, tmp_path: Path) -> None:
    folder = copy_with_config(tiny, tmp_path / "changed")
    (folder / "config.json").write_text('{"a":' * 200_000)
    with pytest.raises(ModelError, match=r"config\.json cannot be read\. Download it again\."):
        lookup.find(str(folder))


def test_a_damaged_cached_checkpoint_must_be_removed_first(tiny: Path, tmp_path: Path) -> None:
    add_to_cache(tmp_path, tiny, "someone/tiny")
    snapshot = tmp_path / "hub" / "models--someone--tiny" / "snapshots" / REVISION
    (snapshot / "config.json").write_text("{")
    (snapshot / "model.safetensors").write_bytes(b"nothing")
    looks: list[Callable[[], object]] = [
        lambda: lookup.find(str(snapshot)),
        lambda: lookup.weight_shapes(snapshot),
    ]
    for look in looks:
        with pytest.raises(ModelError) as caught:
            look()
        assert str(caught.value).endswith(
            "Remove it with vipcli models rm someone/tiny, then download it again."
        )


def test_an_empty_name_is_refused() -> None:
    for name in ("", " "):
        with pytest.raises(UsageError, match="The checkpoint's name is empty"):
            lookup.peek(name)
