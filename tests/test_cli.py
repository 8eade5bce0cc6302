"""The command as it is typed: whole transcripts, standard output apart from standard error."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.clips import make_clip
from tests.commands import Ran, run
from vipcli.checkpoints.lookup import find, fingerprint
from vipcli.pictures.images import Pixels

SYSTEM = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions."
)


@pytest.fixture
def photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A picture of 336 × 252 in the working folder, and a mask of its size beside it."""
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(1).integers(0, 256, (252, 336, 3), np.uint8)
    Image.fromarray(pixels).save("photo.png")
    mask = np.zeros((252, 336), np.uint8)
    mask[40:90, 100:200] = 255
    Image.fromarray(mask).save("cat.png")
    return tmp_path / "photo.png"


COMMANDS = [
    [],
    ["ask"],
    ["draw"],
    ["batch"],
    ["config"],
    *(["config", name] for name in ("show", "set", "unset", "path")),
]


def pixels(name: str) -> Pixels:
    with Image.open(name) as image:
        return np.asarray(image)


def plan(*arguments: str, environment: Mapping[str, str] | None = None) -> Ran:
    return run("ask", "photo.png", *arguments, "--dry-run", environment=environment)


@pytest.mark.usefixtures("photo")
class TestDryRun:
    def test_the_prompt_and_the_marks(self) -> None:
        assert plan("What is within the red rectangle?", "--box", "40,60,200,220") == Ran(
            0,
            f"{SYSTEM}###Human: <image>\nWhat is within the red rectangle?###Assistant:\n"
            "{1} within the red rectangle: box 40,60 200,220\n",
            "",
        )

    def test_marks_count_in_the_order_typed_across_kinds(self) -> None:
        ran = plan(
            "{1}; {2}; {3}; {4}",
            *("--point", "9,9", "--box", "1,1,30,30", "--point", "20,20:gold", "--arrow", "50%,50%"),
            "--quiet",
        )
        assert ran.out.splitlines()[1] == (
            "at the red point; within the lime rectangle; at the gold point; "
            "pointed to by the blue arrow###Assistant:"
        )

    def test_marks_keep_their_order_in_every_way_of_typing(self) -> None:
        ran = plan("--box=1,1,9,9", "{1} {2} {3}", "--point=5,5", "--box", "3,3,8,8", "-q")
        assert "within the red rectangle at the lime point within the blue rectangle" in ran.out

    def test_all_eight_kinds_at_once(self) -> None:
        ran = plan(
            *("--box", "10,10,90,200", "--ellipse", "10%,10%,50%,200", "--triangle", "5,5,60,60"),
            *("--point", "50%,50%:#00ff00", "--arrow", "120,20,200,100:navy"),
            *("--scribble", "10,10 40,35 60,20", "--contour", "1,1 50,1 50,50", "--mask", "cat.png:aqua"),
        )
        assert ran.code == 0
        assert ran.out.splitlines()[2:] == [
            "{1} within the red rectangle: box 10,10 90,200",
            "{2} within the blue ellipse: ellipse 33.6,25.2 168,200",
            "{3} with the yellow triangle: triangle 5,5 60,60",
            "{4} at the lime point: point 168,126",
            "{5} pointed to by the navy arrow: arrow 120,20 200,100",
            "{6} with the fuchsia scribble: scribble 10,10 40,35 60,20",
            "{7} with the orange mask contour: contour 1,1 50,1 50,50",
            "{8} with the aqua mask: mask 100,40 100,89 199,89 199,40",
        ]

    def test_without_a_question_one_is_asked_and_shown(self) -> None:
        ran = plan("--arrow", "50%,40%")
        assert "What is the object pointed to by the red arrow?###Assistant:" in ran.out
        assert ran.err == "note: Asking: What is the object pointed to by the red arrow?\n"

    def test_of_several_pictures_each_mark_tells_its_own(self) -> None:
        ran = plan("--image", "photo.png", "--save-marked", "out.png", "--box", "2:1,1,90,90")
        assert ran.out.splitlines()[-1] == "{1} within the red rectangle: box 1,1 90,90 on picture 2"
        assert "note: The 2 pictures are in out-1.png to out-2.png.\n" in ran.err
        assert "Asking: What is shown in these pictures?" in plan("--image", "photo.png").err

    def test_a_mark_left_out_of_the_question_is_hinted_at(self) -> None:
        assert plan("Who is this?", "--point", "120,80").err == (
            "note: The question does not mention {1} (at the red point). Write {1} in it.\n"
        )
        assert plan("Who is this?", "--point", "120,80", "--quiet").err == ""

    def test_forms_and_system_lines(self) -> None:
        assert plan("Q", "--prompt", "vicuna").out == f"{SYSTEM} USER: <image>\nQ ASSISTANT:\n"
        assert plan("Q", "--system", "Be brief.").out == "Be brief.###Human: <image>\nQ###Assistant:\n"
        assert (
            plan("Q", environment={"VIPCLI_SYSTEM": "Be kind."}).out
            == "Be kind.###Human: <image>\nQ###Assistant:\n"
        )

    def test_json_holds_the_same(self) -> None:
        record = json.loads(plan("What is in the box?", "--box", "40,60,200,220:blue", "--json").out)
        assert record["prompt"].endswith("###Human: <image>\nWhat is in the box?###Assistant:")
        assert record["marks"] == [
            {
                "number": 1,
                "kind": "box",
                "typed": "40,60,200,220:blue",
                "color": "blue",
                "rgb": "#0000ff",
                "phrase": "within the blue rectangle",
                "x1": 40,
                "y1": 60,
                "x2": 200,
                "y2": 220,
                "style": record["marks"][0]["style"],
                "images": [1],
            }
        ]
        assert record["marks"][0]["style"]["stroke"] == 3
        assert record["marks"][0]["style"]["alpha"] == 128
        assert record["images"][0]["width"] == 336
        assert len(record["images"][0]["sha256"]) == 64

    def test_torch_is_left_alone(self) -> None:
        code = (
            "import sys; from vipcli.cli import app; "
            "sys.argv = ['vipcli', 'ask', 'photo.png', 'Q', '--dry-run']; "
            "code = app.main(); print(code, sorted({'torch', 'transformers'} & set(sys.modules)))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "0 []"

    def test_shares_taken_for_pixels_are_noticed(self) -> None:
        assert plan("{1}", "--box", "0.1,0.2,0.5,0.6").err == (
            "note: The red rectangle is tiny: under 2.3 pixels at the model's input size. "
            "Coordinates are in pixels. Write fractions as percentages, such as 25%.\n"
        )
        assert "so it is invisible" in plan("{1}", "--box", "9,9,90,90", "--alpha", "0").err

    def test_what_the_model_would_miss_is_said(self) -> None:
        Image.new("RGB", (200, 100)).save("wide.png")
        ran = run("ask", "wide.png", "{1} {2}", "--box", "2,2,30,30", "--point", "60,50", "--dry-run")
        assert ran.err == (
            "note: The stroke of the red rectangle is 1.0 pixels wide at the model's input size and may "
            "vanish. "
            "Make it wider with --width.\n"
        )
        ran = run(
            *("ask", "wide.png", "{1} {2}", "--box", "2,2,30,30", "--box", "40,2,90,30", "--dry-run"),
            *("--fit", "crop", "--width", "8"),
        )
        assert ran.err == (
            "note: The red rectangle is cropped away, so the model cannot see it. Use --fit pad.\n"
            "note: Part of the lime rectangle is cropped away. Use --fit pad to keep it whole.\n"
        )

    def test_a_mark_partly_outside_is_cut_with_a_note(self) -> None:
        ran = plan("{1}", "--box", "300,200,400,300")
        assert "box 300,200 336,252" in ran.out
        assert ran.err == (
            "note: The red rectangle reaches outside the picture (336 × 252) and is cut off at its edge.\n"
        )

    def test_marks_that_look_alike_are_noted(self) -> None:
        ran = plan("{1} {2}", "--box", "1,1,50,50:red", "--box", "60,60,90,90:red")
        assert ran.err == "note: 2 marks have the same name: the red rectangle. Give them different colors.\n"


@pytest.mark.usefixtures("photo")
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["ask", "nowhere.png"], 1, "There is no file 'nowhere.png'."),
        (["ask", "photo.png", "{3}", "--box", "1,1,9,9"], 2, "The question mentions mark {3}"),
        (["ask", "photo.png", "Q", "--box", "900,1,950,5"], 2, "which is 336 × 252 pixels."),
        (["ask", "photo.png", "Q", "--box", "1,2,3"], 2, "has 3 numbers. It takes x1,y1,x2,y2."),
        (["ask", "photo.png", "Q", "--box", "1,2,3,x"], 2, "Cannot read the box '1,2,3,x'."),
        (["ask", "photo.png", "Q", "--box", "1,1,9,9:rad"], 2, "Did you mean red?"),
        (["ask", "photo.png", "Q", "--mask", "nowhere.png"], 1, "There is no file 'nowhere.png'."),
        (["ask", "photo.png", "a ### Human b"], 2, "The question contains '### Human'"),
        (["ask", "photo.png", "a <image> b"], 2, "The question contains '<image>'"),
        (["ask", "photo.png", "  "], 2, "The question is empty."),
        (["ask", "photo.png", "Q", "--system", "</s>"], 2, "The system line contains '</s>'"),
        (["ask", "photo.png", "Q", "--temperature", "hot"], 2, "--temperature is 'hot', but takes a number"),
        (["ask", "photo.png", "Q", "--fit", "squeeze"], 2, "--fit is 'squeeze', but takes one of auto, pad"),
        (["ask", "photo.png", "Q", "--jitter", "x"], 2, "--jitter is 'x', but takes a whole number"),
        (["ask", "photo.png", "Q", "--width", "0"], 2, "--width is '0', but takes a number from 0.1"),
        (["ask", "photo.png", "Q", "--max-pixels", "100"], 1, "--max-pixels"),
        (["ask", "photo.png", "Q", "--model", "./nowhere"], 1, "There is no checkpoint folder at ./nowhere."),
        (["ask", "photo.png", "Q", "--save-marked", "photo.png"], 1, "is the picture that was read"),
        (["ask", "photo.png", "Q", "--mask", "cat.png", "--save-marked", "cat.png"], 1, "was read"),
        (["ask", "photo.png", "Q", "--save-marked", "no/where.png"], 1, "There is no folder"),
        (["ask", "photo.png", "Q", "--save-marked", "marked"], 1, "Let it end in .png"),
        (["ask"], 2, "Missing argument 'IMAGE'. See vipcli ask --help."),
        (["ask", "photo.png", "what", "is"], 2, "extra argument(s) (is). Put questions, and points"),
        (["ask", "What is this?", "photo.png"], 2, "The picture comes before the question"),
        (["ask", "photo.png", "--boxx", "1"], 2, "No such option: --boxx"),
        (["ask", "photo.png", "--box"], 2, "The box has no coordinates. Write them in pixels or percent"),
        (["asq"], 2, "No such command 'asq'. Did you mean 'ask'? See vipcli --help."),
        (["models", "info", "a", "b"], 2, "extra argument(s) (b). See vipcli models info --help."),
        (["models", "info", ""], 2, "The checkpoint's name is empty."),
        (["models", "use", " "], 2, "The checkpoint's name is empty."),
        (["ask", "photo.png", "Q", "--save-marked", "-"], 2, "Standard output is for the answer."),
        (["ask", "What is {1}?", "--box", "1,1,9,9"], 2, "The picture is missing before"),
        (["draw", "photo.png"], 2, "There is no output. Name a file"),
        (["draw", "photo.png", "-o", "-", "--json"], 2, "the picture or the JSON, not both"),
        (["draw", "photo.png", "-o", "photo.png"], 1, "is the picture that was read"),
        (["config", "set", "fitt", "pad"], 2, "Did you mean fit?"),
        (["config", "set", "fit", "squeeze"], 2, "fit is 'squeeze'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_input_is_told_in_a_sentence(arguments: list[str], code: int, message: str) -> None:
    ran = run(*arguments)
    assert ran.code == code
    assert ran.out == ""
    said = ran.err.splitlines()[-1]
    assert said.startswith("error: ")
    assert message in said
    assert said[-1] in ".?"
    assert "Traceback" not in ran.err
    assert all(line.startswith(("note: ", "error: ")) for line in ran.err.splitlines())


@pytest.mark.usefixtures("photo")
class TestDraw:
    def test_the_file_holds_what_was_drawn(self) -> None:
        assert run("draw", "photo.png", "--box", "10,20,100,80", "--alpha", "255", "-o", "out.png") == Ran(
            0, "", ""
        )
        before, after = (pixels(name) for name in ("photo.png", "out.png"))
        assert (after[20, 10:101] == (255, 0, 0)).all()
        assert (after[24:77, 14:97] == before[24:77, 14:97]).all()
        assert (after[81:] == before[81:]).all()

    def test_marks_of_files_and_points(self) -> None:
        ran = run(
            *("draw", "photo.png", "--scribble", "10,10 40,35 60,20", "--mask", "cat.png:aqua"),
            *("-o", "marked.png", "--json"),
        )
        assert [mark["kind"] for mark in json.loads(ran.out)["marks"]] == ["scribble", "mask"]
        before, after = (pixels(name) for name in ("photo.png", "marked.png"))
        changed = (before != after).any(axis=2)
        assert changed[45:85, 105:195].mean() > 0.99
        assert not changed[100:].any()

    def test_standard_output_takes_the_picture(self) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "vipcli", "draw", "-", "--point", "50%,50%", "-o", "-"],
            input=Path("photo.png").read_bytes(),
            capture_output=True,
            check=True,
        )
        Path("out.png").write_bytes(done.stdout)
        assert pixels("out.png").shape == (252, 336, 3)

    def test_of_a_video_each_frame_becomes_a_file_that_is_told(self, tmp_path: Path) -> None:
        make_clip(tmp_path / "clip.mp4")
        assert run("draw", "clip.mp4", "--point", "9,9", "-o", "out.png") == Ran(
            0, "", "note: The 8 pictures are in out-1.png to out-8.png.\n"
        )
        assert run("draw", "clip.mp4", "-o", "out.png", "--quiet").err == ""
        assert "Standard output can take one picture, not 8" in run("draw", "clip.mp4", "-o", "-").err
        assert pixels("out-8.png").shape == (120, 160, 3)

    def test_jitter_repeats_with_its_seed(self) -> None:
        for name, seed in (("a.png", "1"), ("b.png", "1"), ("c.png", "2")):
            run("draw", "photo.png", "--ellipse", "50,50,200,150", "--jitter", seed, "-o", name)
        a, b, c = (Path(name).read_bytes() for name in ("a.png", "b.png", "c.png"))
        assert a == b != c


@pytest.mark.usefixtures("photo")
class TestAnswers:
    def test_an_answer_and_nothing_else_on_standard_output(self, tiny: Path) -> None:
        arguments = ["ask", "photo.png", "What is within the red rectangle?", "--box", "40,60,200,220"]
        model = ["--model", str(tiny), "--max-new-tokens", "8", "--width", "30"]
        ran = run(*arguments, *model, "-v")
        assert ran.code == 0
        assert ran.out.strip()
        assert ran.err.startswith(f"note: {tiny}, float32 on cpu: 8 tokens, mean probability 0.")

    def test_json_is_a_whole_record(self, tiny: Path, photo: Path) -> None:
        ran = run(
            *("ask", "-", "Who is at {1}?", "--point", "120,80", "--json", "--model", str(tiny)),
            *("--max-new-tokens", "6", "--temperature", "0.7"),
            stdin=photo.read_bytes(),
        )
        record = json.loads(ran.out)
        assert list(record) == [
            *(
                "question",
                "answer",
                "ended",
                "probability",
                "prompt",
                "tokens",
                "token_ids",
                "form",
                "system",
            ),
            *("fit", "marks", "drawing", "images", "video", "notes", "sampling", "model", "versions"),
            "seconds",
        ]
        assert record["ended"] == "length"
        assert record["tokens"]["answer"] == len(record["token_ids"]) == 6
        assert 0 < record["probability"] <= 1
        assert set(record["versions"]) == {"vipcli", "torch", "transformers"}
        assert record["model"] == {
            "name": str(tiny),
            "revision": None,
            "dtype": "float32",
            "device": "cpu",
            "quantize": None,
            "quantize_all": False,
            "attention": "sdpa",
            "fingerprint": fingerprint(find(str(tiny))),
        }
        assert record["images"][0]["source"] == "-"
        assert set(record["seconds"]) == {
            *("picture", "load", "prepare", "first_token", "generate", "answer"),
        }
        again = json.loads(
            run(
                *("ask", "-", "Who is at {1}?", "--point", "120,80", "--json", "--model", str(tiny)),
                *("--max-new-tokens", "6", "--temperature", "0.7", "--seed", str(record["sampling"]["seed"])),
                stdin=photo.read_bytes(),
            ).out
        )
        assert again["answer"] == record["answer"]

    def test_saving_and_dry_run_go_together(self) -> None:
        ran = plan("What is in the box?", "--box", "40,60,200,220", "--save-marked", "marked.png")
        assert ran.code == 0
        assert pixels("marked.png").shape == (252, 336, 3)

    def test_a_closed_pipe_is_a_normal_end(self, tiny: Path) -> None:
        for arguments in (f"ask photo.png Q --model {tiny} --max-new-tokens 20", "--help", "ask --help"):
            command = f"{sys.executable} -m vipcli {arguments}; echo $? >code"
            subprocess.run(["bash", "-c", f"({command}) | true"], check=True, stderr=subprocess.DEVNULL)
            assert Path("code").read_text() == "0\n"

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
    @pytest.mark.parametrize("arguments", ["--help", "ask photo.png Q --dry-run", "draw photo.png -o -"])
    def test_a_full_disk_is_told_in_a_sentence(self, arguments: str) -> None:
        command = f"{sys.executable} -m vipcli {arguments} >/dev/full"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert done.stderr.endswith("error: Standard output cannot be written: No space left on device.\n")
        assert "Traceback" not in done.stderr

    def test_closed_streams_do_no_harm(self) -> None:
        command = f"{sys.executable} -m vipcli ask photo.png Q --point 9,9 --dry-run 2>&-"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
        assert done.returncode == 0
        assert "note" not in done.stdout

    def test_json_is_json_in_any_locale(self) -> None:
        ran = plan("naïve 🦊", "--json", environment={"PYTHONIOENCODING": "ascii"})
        assert json.loads(ran.out)["question"] == "naïve 🦊"


@pytest.mark.usefixtures("photo")
class TestKeptSettings:
    def test_a_revision_that_is_kept_is_for_the_hub_alone(self, tiny: Path) -> None:
        model = ["--model", str(tiny), "--max-new-tokens", "2"]
        assert run("ask", "photo.png", "Q", *model, environment={"VIPCLI_REVISION": "v2"}).code == 0
        assert "Leave out --revision" in run("ask", "photo.png", "Q", *model, "--revision", "v2").err

    def test_what_does_nothing_is_told(self) -> None:
        assert plan("Q", "--quantize-all").err == "note: --quantize-all does nothing without --quantize.\n"
        assert plan("Q", "--quantize-all", "--quantize", "4bit").err == ""

    def test_errors_blame_no_flag_that_nobody_typed(self, tiny: Path) -> None:
        ran = run("ask", "photo.png", "Q", "--model", str(tiny), environment={"VIPCLI_DEVICE": "cuda:77"})
        assert ran.code == 1
        assert "Leave out" not in ran.err


class TestConfig:
    def test_show_tells_where_each_value_comes_from(self, tmp_path: Path) -> None:
        file = tmp_path / "settings.toml"
        environment = {"VIPCLI_CONFIG": str(file), "VIPCLI_FIT": "crop"}
        assert run("config", "set", "temperature", "0.2", environment=environment).err == (
            f"note: temperature is now 0.2 in {file}.\n"
        )
        lines = run("config", "show", environment=environment).out.splitlines()
        assert "fit             crop                     from VIPCLI_FIT" in lines
        assert f"temperature     0.2                      from {file}" in lines
        assert "model           bundled                  default" in lines
        shown = json.loads(run("config", "show", "--json", environment=environment).out)
        assert shown["fit"] == {"value": "crop", "source": "environment"}
        assert run("config", "unset", "temperature", environment=environment).err == (
            "note: temperature is back to its default.\n"
        )
        assert run("config", "path", environment=environment).out == f"{file}\n"


def test_help_is_there_in_every_way_of_asking() -> None:
    for arguments in (["--help"], ["-h"], []):
        assert "Point at part of a picture" in run(*arguments).out
    assert run("--version").out.startswith("vipcli 0.")
    assert run("--version", "config", "path").out.count("\n") == 1


@pytest.mark.parametrize("arguments", COMMANDS)
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = (
        f"import sys; sys.argv = ['vipcli', *{arguments!r}, '--help']; "
        "from vipcli.cli import app; app.main(); "
        "heavy = {'numpy', 'cv2', 'PIL', 'torch', 'transformers', 'huggingface_hub', 'httpx', 'pydantic'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("vipcli ", ["ask", "batch", "bench", "chat", "config", "doctor", "draw", "models", "serve", "web"]),
        ("vipcli ask a.png --box 1,2,3,4:f", ["1,2,3,4:fuchsia"]),
        ("vipcli ask a.png --model vip", ["vip-llava-13b", "vip-llava-7b"]),
        ("vipcli ask a.png --fit ", ["auto", "crop", "pad", "stretch"]),
        ("vipcli config set max", ["max_new_tokens", "max_pixels"]),
    ],
)
def test_the_shell_completes(typed: str, words: list[str]) -> None:
    parts = typed.split(" ")
    shell = {"_VIPCLI_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(len(parts) - 1)}
    ran = run(environment=shell)
    assert sorted(ran.out.split()) == words


def test_a_question_longer_than_a_file_s_name_is_a_question() -> None:
    picture = Path(__file__).parent.parent / "samples" / "shapes.png"
    question = "What is in the picture? " * 20
    ran = run("ask", "-", question, "--dry-run", stdin=picture.read_bytes())
    assert ran.out.startswith("A chat between"), ran.err


def test_an_error_of_the_system_is_not_blamed_on_standard_output() -> None:
    ran = run("models", "info", "x" * 300 + "/y")
    assert ran.code != 0
    assert "Standard output" not in ran.err
    assert ran.err.count("\n") == 1


def test_after_q_a_sentence_is_still_the_question_of_a_batch() -> None:
    picture = str(Path(__file__).parent.parent / "samples" / "shapes.png")
    ran = run("batch", picture, "-q", "What is it?", "--dry-run")
    assert ran.code == 0
    assert "-q is --quiet. Give the question with --question." in ran.err
    assert "What is it?" in ran.out
