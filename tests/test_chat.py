"""A conversation line by line: what is asked, drawn, kept, taken up and written down."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.scripted import ScriptedAnswerer
from vipcli.asking.interface import Halted, OnText, Reply, Request
from vipcli.asking.pipeline import mark
from vipcli.chat import archive, history, html
from vipcli.chat.conversation import ChatSettings, Conversation, Subject
from vipcli.chat.session import COMMANDS, ChatSession
from vipcli.checkpoints import lookup
from vipcli.cli.chat import TerminalChatOutput
from vipcli.errors import ContextError, ConversationError, OutputError, UsageError, VipcliError
from vipcli.files import state_folder
from vipcli.pictures.images import load_picture

SAMPLES = Path(__file__).parent.parent / "samples"
BUNDLED = lookup.find("bundled")


@pytest.fixture(autouse=True)
def _photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, seed in (("photo.png", 1), ("other.png", 2)):
        pixels = np.random.default_rng(seed).integers(0, 256, (90, 120, 3), np.uint8)
        Image.fromarray(pixels).save(name)


def start(*answers: str, answerer: Any = None, **settings: Any) -> ChatSession:
    """A session about photo.png whose model gives these answers."""
    answerer = answerer or ScriptedAnswerer(*answers)
    chat = Conversation(answerer, BUNDLED, Subject((load_picture("photo.png"),)), ChatSettings(**settings))
    output = TerminalChatOutput(quiet=False, interactive=False)
    return ChatSession(chat, answerer, output, max_pixels=10**6)


def run(session: ChatSession, *lines: str) -> None:
    session.run(lines)


def requests(session: ChatSession) -> list[Request]:
    answerer = session._answerer
    assert isinstance(answerer, ScriptedAnswerer)
    return answerer.requests


# --------------------------------------------------------------------------- whole transcripts


def chat(*arguments: str, lines: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vipcli", "chat", *arguments],
        input=lines,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_five_turns_with_the_bundled_model_read_as_they_should() -> None:
    picture = str(SAMPLES / "shapes.png")
    lines = (
        "Which number is within the red rectangle?",
        "/box 8%,36%,31%,66%",
        "Which number is {1}?",
        "What color is it?",
        "",
        "/marks",
        "/undo",
        "/retry",
        "How many things are in the picture?",
        "//quit",
        "/quit",
        "This is said after the end.",
    )
    done = chat(picture, lines="\n".join(lines) + "\n")
    assert done.returncode == 0, done.stderr
    expected = json.loads((Path(__file__).parent / "chat.json").read_text(encoding="utf-8"))
    assert [done.stdout.splitlines(), done.stderr.splitlines()] == [expected["out"], expected["err"]]


def test_a_script_ends_at_its_first_mistake() -> None:
    done = chat("photo.png", lines="/bxo 1,1,2,2\n/marks\n")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: There is no command /bxo. Did you mean /box?\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "Name a picture to talk about"),
        (("-",), "Standard input is used for questions"),
        (("--resume", "--box", "1,1,9,9"), "Marks and frames go with a picture"),
        (("photo.png", "What is it?"), "Type questions once the conversation has started"),
        (("--resume",), "There is no conversation to resume. Start one: vipcli chat PICTURE"),
        (("nothing.png",), "nothing.png"),
        (("photo.png", "--box", "1,2"), "box"),
        (("photo.png", "--temperature", "hot"), "--temperature is 'hot'"),
    ],
)
def test_what_cannot_begin_is_told_before_a_model_is_loaded(arguments: tuple[str, ...], told: str) -> None:
    done = chat(*arguments, lines="Q\n")
    assert done.returncode in (1, 2)
    assert done.stdout == ""
    assert told in done.stderr and done.stderr.count("\n") == 1


# --------------------------------------------------------------------------- asking


def test_earlier_turns_are_told_with_the_tokens_they_had() -> None:
    session = start("a red dog", "a tree", "yes")
    run(session, "What is it?", "And left of it?", "Sure?")
    first, second, third = requests(session)
    assert first.past_turns == () and first.min_answer_tokens == 1
    assert [said.token_ids for said in third.past_turns] == [(0, 1, 2), (0, 1)]
    assert third.past_turns[0].prompt == first.prompt
    assert third.past_turns[1].prompt == second.prompt == "###Human: And left of it?###Assistant:"
    assert third.prompt == "###Human: Sure?###Assistant:"
    assert third.min_answer_tokens == 64
    assert third.user_texts == ("Sure?", "What is it?", "And left of it?")


def test_a_mark_changes_the_picture_and_keeps_the_turns(capsys: pytest.CaptureFixture[str]) -> None:
    session = start("a", "b", "c", "d")
    run(
        session,
        "What is it?",
        "/box 10,10,50,50",
        "What is {1}?",
        "/undo",
        "And now?",
        "/image other.png",
        "So?",
    )
    pictures = [request.images[0] for request in requests(session)]
    plain, boxed, unboxed, other = (picture.tobytes() for picture in pictures)
    assert plain == unboxed != boxed
    assert other == np.asarray(Image.open("other.png")).tobytes()
    told = capsys.readouterr()
    assert told.out == "a\nb\nc\nd\n"
    assert told.err.splitlines() == [
        "note: {1} within the red rectangle: box 10,10 50,50",
        "note: The picture has changed, so the model looks at it again; the earlier turn stays.",
        "note: Removed the red rectangle.",
        "note: The picture has changed, so the model looks at it again; the 2 earlier turns stay.",
        "note: The picture is now other.png (120 × 90).",
        "note: The picture has changed, so the model looks at it again; the 3 earlier turns stay.",
    ]
    assert [turn.phrases for turn in session.chat.turns] == [(), ("within the red rectangle",), (), ()]


class Forgetful(ScriptedAnswerer):
    """Has room for a question and two turns."""

    def answer(self, request: Request, on_text: OnText | None = None, halted: Halted | None = None) -> Reply:
        if len(request.past_turns) > 2:
            raise ContextError("There is no room. Ask something shorter.")
        return super().answer(request, on_text, halted)


def test_the_oldest_turns_leave_a_full_conversation(capsys: pytest.CaptureFixture[str]) -> None:
    session = start(answerer=Forgetful(*"abcdefg"))
    run(session, *(f"Question {number}?" for number in range(1, 8)))
    note = "note: The conversation is too long for the model, so the oldest 2 turns were dropped."
    assert capsys.readouterr().err.splitlines() == [f"{note} The picture stays."] * 2
    last = requests(session)[-1]
    assert len(session.chat.turns) == 7 and session.chat.dropped == 4
    assert last.past_turns[0].prompt.endswith("###Human: <image>\nQuestion 5?###Assistant:")
    assert "Question 1?" not in last.user_texts


class Full(ScriptedAnswerer):
    def answer(self, request: Request, on_text: OnText | None = None, halted: Halted | None = None) -> Reply:
        raise ContextError("There is no room. Ask something shorter.")


def test_a_question_too_long_for_an_empty_conversation_is_an_error() -> None:
    session = start(answerer=Full())
    with pytest.raises(ContextError, match="Ask something shorter"):
        session.run_line("Long?")
    assert session.chat.turns == []


def test_a_retry_asks_the_same_of_what_is_shown_now(capsys: pytest.CaptureFixture[str]) -> None:
    session = start("a", "b", "b2", "b2")
    run(session, "One?", "/box 1,1,50,50", "What is {1}?", "/undo", "/arrow 40,40", "/retry")
    assert [turn.question for turn in session.chat.turns] == ["One?", "What is pointed to by the red arrow?"]
    assert [turn.answer for turn in session.chat.turns] == ["a", "b2"]
    capsys.readouterr()
    session.run_line("/retry")
    assert "At temperature 0, an answer does not change" in capsys.readouterr().err


def test_a_question_that_never_fits_takes_nothing_with_it() -> None:
    class Room(ScriptedAnswerer):
        def answer(
            self, request: Request, on_text: OnText | None = None, halted: Halted | None = None
        ) -> Reply:
            if "long" in request.prompt:
                raise ContextError("There is no room. Ask something shorter.")
            return super().answer(request, on_text, halted)

    session = start(answerer=Room("a", "b", "c"))
    run(session, "One?", "Two?")
    with pytest.raises(ContextError):
        session.run_line("A long one?")
    assert session.chat.dropped == 0
    session.run_line("Three?")
    assert len(requests(session)[-1].past_turns) == 2


def test_a_retry_halted_before_a_word_keeps_the_turn() -> None:
    class Halting(ScriptedAnswerer):
        def answer(
            self, request: Request, on_text: OnText | None = None, halted: Halted | None = None
        ) -> Reply:
            reply = super().answer(request, on_text, halted)
            return reply if reply.text else replace(reply, ended="halted")

    session = start(answerer=Halting("a", ""))
    run(session, "One?", "/retry")
    assert [turn.answer for turn in session.chat.turns] == ["a"]


def test_what_has_no_place_in_json_is_kept_all_the_same(tmp_path: Path) -> None:
    class Unsure(ScriptedAnswerer):
        def answer(
            self, request: Request, on_text: OnText | None = None, halted: Halted | None = None
        ) -> Reply:
            return replace(super().answer(request, on_text, halted), probability=float("nan"))

    name = os.fsdecode(b"caf\xe9.png")
    shutil.copy("photo.png", name)
    session = start(answerer=Unsure("a"))
    run(session, f"/image {name}", "One?", "/save c.json", "/export c.html")
    kept = json.loads(Path("c.json").read_text())
    assert kept["exchanges"][0]["probability"] is None
    assert kept["scene"]["pictures"][0]["source"].endswith("caf\\udce9.png")
    assert "caf" in Path("c.html").read_text()


def test_looking_at_a_loaded_conversation_writes_no_copy_of_it() -> None:
    session = start("a", "b")
    run(session, "One?", "/save c.json", "/load c.json", "/marks", "/stats")
    assert len(list((state_folder() / "chats").iterdir())) == 1
    session.run_line("Two?")
    assert len(list((state_folder() / "chats").iterdir())) == 2


def test_a_retry_that_fails_loses_nothing() -> None:
    session = start("a")
    run(session, "/box 1,1,50,50", "What is {1}?", "/clear")
    with pytest.raises(VipcliError, match="there are no marks"):
        session.run_line("/retry")
    assert [turn.answer for turn in session.chat.turns] == ["a"]


def test_chance_gives_each_answer_a_seed_that_is_kept() -> None:
    session = start("a", "b", "c", temperature=0.7)
    run(session, "One?", "Two?")
    seeds = [request.sampling.seed for request in requests(session)]
    assert seeds[0] != seeds[1]
    assert [turn.settings.seed for turn in session.chat.turns] == seeds
    run(session, "/set seed 5", "Three?")
    assert requests(session)[-1].sampling.seed == 5


# --------------------------------------------------------------------------- commands


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("/bx 1,1,2,2", "There is no command /bx. Did you mean /box?"),
        ("/zzzz", "There is no command /zzzz. /help lists the commands."),
        ("/", "There is no command /. /help lists"),
        ("/box", "/box needs an argument: X1,Y1,X2,Y2[:COLOR]."),
        ("/arrow", "/arrow needs an argument: [X1,Y1,]X2,Y2[:COLOR]."),
        ("/undo 3", "/undo takes no argument."),
        ("/undo", "There are no marks to remove."),
        ("/retry", "Nothing has been asked yet."),
        ("/box 1,2,3", "box"),
        ("/image", "/image needs an argument: FILE."),
        ("/image nothing.png", "nothing.png"),
        ("/save", "/save needs an argument: FILE.json."),
        ("/save photo.png", "'photo.png' must end in .json"),
        ("/save no/such/folder.json", "There is no folder 'no/such'"),
        ("/export photo.png", "'photo.png' must end in .html"),
        ("/load nothing.json", "'nothing.json' cannot be read: No such file"),
        ("/load photo.png", "'photo.png' is not a saved conversation"),
        ("/set temperature hot", "temperature is 'hot', but takes"),
        ("/set model other", "model cannot be changed in a conversation. You can change prompt, system,"),
        ("/set tmperature 1", "Did you mean temperature?"),
        ("/load ~nobody-by-that-name/a.json", "cannot be read: No such file"),
        ("/load a\0b.json", "cannot be read"),
        ("/load .", "'.' is not a file"),
        ("/image -", "Standard input is used for questions"),
        ("/unset", "/unset needs an argument: NAME."),
    ],
)
def test_what_cannot_be_done_is_told_and_changes_nothing(line: str, told: str) -> None:
    session = start()
    before = archive.to_json(session.chat)
    with pytest.raises(VipcliError, match=re.escape(told)):
        session.run_line(line)
    assert archive.to_json(session.chat) == before
    assert (Path("photo.png").read_bytes()[:4], Path("photo.json").exists()) == (b"\x89PNG", False)


def test_settings_change_as_the_conversation_goes(capsys: pytest.CaptureFixture[str]) -> None:
    session = start("a", "b")
    run(session, "/set max_new_tokens 7", "/set width 5", "/system Be brief.", "/box 5,5,60,60", "One?")
    run(session, "/unset max-new-tokens", "/unset system", "/set prompt vicuna", "Two?")
    first, second = requests(session)
    assert first.sampling.max_new_tokens == 7
    assert first.prompt.startswith("Be brief.###Human: <image>")
    assert second.sampling.max_new_tokens == 512
    assert (
        second.past_turns[0].prompt.startswith("A chat between")
        and "USER: <image>" in second.past_turns[0].prompt
    )
    assert second.prompt.endswith("USER: Two? ASSISTANT:")
    capsys.readouterr()
    run(session, "/set", "/set prompt", "/system")
    told = capsys.readouterr()
    assert told.out == ""
    assert "width           5.0\n" in told.err
    assert "prompt is vicuna.\n" in told.err


def test_what_is_typed_with_two_slashes_is_asked_with_one() -> None:
    session = start("a")
    session.run_line("//dev/null is what?")
    assert session.chat.turns[0].question == "/dev/null is what?"


def test_help_names_every_command_and_the_readme_too(capsys: pytest.CaptureFixture[str]) -> None:
    start().run_line("/help")
    told = capsys.readouterr()
    assert told.out == ""
    for name in COMMANDS:
        assert f"\n/{name}" in "\n" + told.err


def test_stats_tell_of_the_last_answer(capsys: pytest.CaptureFixture[str]) -> None:
    class Timed(ScriptedAnswerer):
        def answer(
            self, request: Request, on_text: OnText | None = None, halted: Halted | None = None
        ) -> Reply:
            return replace(super().answer(request, on_text, halted), seconds={"first_token": 0.25})

    session = start(answerer=Timed("one two"))
    run(session, "/stats", "Q", "/stats")
    told = capsys.readouterr().err
    assert "turns       0" in told and "turns       1" in told
    assert "answer      2 tokens" in told and "first token 0.25 s" in told


# --------------------------------------------------------------------------- keeping


def test_a_conversation_kept_and_loaded_is_the_same(tmp_path: Path) -> None:
    shutil.copy("other.png", "mask.png")
    session = start("a", "b", "c", temperature=0.5)
    run(
        session,
        "/box 10%,10%,50%,50%",
        "One {1}?",
        "/mask mask.png:aqua",
        "/image other.png",
        "/point 5,5",
        "Two?",
    )
    run(session, "/save kept.json")
    kept = archive.to_json(session.chat)
    session.run_line("Three?")
    other = start("c")
    os.chdir("/")
    run(other, f"/load {tmp_path}/kept.json")
    assert archive.to_json(other.chat) == kept
    other.run_line("Three?")
    (ours,), (*_, theirs) = requests(other), requests(session)
    assert (ours.prompt, ours.past_turns, ours.user_texts) == (
        theirs.prompt,
        theirs.past_turns,
        theirs.user_texts,
    )
    assert ours.images[0].tobytes() == theirs.images[0].tobytes()


def test_the_running_conversation_survives_and_is_taken_up() -> None:
    session = start("a red dog", "b")
    session.run_line("One?")
    # As if the machine had stopped here.
    (kept,) = (state_folder() / "chats").iterdir()
    assert oct(state_folder().stat().st_mode)[-3:] == "700"
    assert json.loads(kept.read_text())["exchanges"][0]["answer"] == "a red dog"
    found = archive.read(history.last_conversation(), max_pixels=10**6)
    again = archive.resume(found, ScriptedAnswerer("b"), BUNDLED)
    assert [turn.answer for turn in again.turns] == ["a red dog"]


def test_the_command_takes_up_where_it_ended() -> None:
    picture = str(SAMPLES / "shapes.png")
    begun = chat(picture, "--box", "8%,36%,31%,66%", lines="Which number is {1}?\n")
    assert begun.stdout == "7\n"
    done = chat("--resume", lines="What color is it?\n")
    assert done.returncode == 0
    assert done.stdout == "green\n"
    assert done.stderr.splitlines() == [
        f"note: Resumed the conversation about {picture}, after one turn.",
        "> Which number is within the red rectangle?",
        "7",
    ]
    assert "after 2 turns" in chat("--resume", lines="").stderr


def test_only_the_newest_conversations_stay() -> None:
    chats = state_folder() / "chats"
    chats.mkdir()
    for number in range(60):
        (chats / f"{number:02}.json").write_text("{}")
        os.utime(chats / f"{number:02}.json", (number, number))
    history.save(history.new_conversation(), "{}")
    left = sorted(file.name for file in chats.iterdir())
    assert len(left) == 50
    assert left[0] == "11.json"


def test_a_full_disk_is_told_and_the_conversation_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(path: Path, text: str) -> None:
        raise OutputError("The disk is full.")

    monkeypatch.setattr(history, "save", fail)
    session = start("a", "b")
    run(session, "One?", "Two?")
    told = capsys.readouterr()
    assert told.out == "a\nb\n"
    assert "note: This conversation is not being saved: The disk is full." in told.err


def test_what_another_model_said_goes_on_as_text() -> None:
    session = start("a dog")
    session.run_line("One?")
    Path("c.json").write_text(
        archive.to_json(session.chat).replace('"model": "bundled"', '"model": "other/model"')
    )
    taken = archive.resume(archive.read(Path("c.json"), max_pixels=10**6), ScriptedAnswerer(), BUNDLED)
    assert taken.turns[0].token_ids is None
    assert "###Human: <image>\nOne?###Assistant: a dog###Human: Two?" in taken.prepare("Two?").prompt


def test_a_picture_that_changed_or_left_is_told() -> None:
    session = start("a", "b")
    run(session, "One?", "/image other.png", "Two?", "/save c.json")
    Image.new("RGB", (120, 90)).save("other.png")
    Path("photo.png").unlink()
    saved = archive.read(Path("c.json"), max_pixels=10**6)
    assert len(saved.notes) == 2
    assert "other.png' has changed since the conversation." in saved.notes[0]
    assert "photo.png" in saved.notes[1]
    assert saved.turns[0].subject.pictures == ()
    assert "The picture is no longer available." in html.page(
        archive.resume(saved, ScriptedAnswerer(), BUNDLED)
    )
    Path("other.png").unlink()
    assert archive.read(Path("c.json"), max_pixels=10**6).subject.pictures == ()
    with pytest.raises(
        ConversationError, match=r"The picture of this conversation cannot be loaded\. .*other\.png"
    ):
        session.run_line("/load c.json")


def test_a_conversation_whose_picture_left_goes_on_with_another(tmp_path: Path) -> None:
    shutil.copy(SAMPLES / "shapes.png", "here.png")
    assert chat("here.png", "--box", "8%,36%,31%,66%", lines="Which number is {1}?\n").stdout == "7\n"
    Path("here.png").rename("there.png")
    done = chat("--resume", lines="What color is it?\n")
    assert done.returncode == 1
    assert "here.png" in done.stderr and "vipcli chat PICTURE --resume" in done.stderr
    done = chat("there.png", "--box", "8%,36%,31%,66%", "--resume", lines="What color is it?\n")
    assert (done.returncode, done.stdout) == (0, "green\n")
    assert "after one turn" in done.stderr


def test_a_name_with_spaces_may_stand_in_quotes() -> None:
    shutil.copy("other.png", "a mask.png")
    session = start()
    run(session, "/mask 'a mask.png':aqua", '/contour "a mask.png"', '/image "a mask.png"')
    assert session.chat.subject.pictures[0].name == "a mask.png"


def damaged() -> Iterator[tuple[str, Any]]:
    yield "nothing", lambda kept: kept.clear()
    yield "another version", lambda kept: kept.update(vipcli_conversation=99)
    yield "more", lambda kept: kept.update(more=1)
    yield "no scene", lambda kept: kept.update(scene={})
    yield "a mark of no kind", lambda kept: kept["scene"].update(marks=[{"kind": "blot", "text": "1,1"}])
    yield "a mark that cannot be", lambda kept: kept["scene"].update(marks=[{"kind": "box", "text": "1"}])
    yield "a setting", lambda kept: kept["manner"].update(temperature="hot")
    yield "an unknown setting", lambda kept: kept["manner"].update(model="x")
    yield "tokens", lambda kept: kept["exchanges"][0].update(token_ids=["a"])
    yield "an end", lambda kept: kept["exchanges"][0].update(ended="never")
    yield "a list", lambda kept: kept.update(exchanges={})
    yield "too many frames", lambda kept: kept.update(scene={"video": {"source": "v.mp4", "frames": 10**9}})


@pytest.mark.parametrize(("what", "damage"), list(damaged()), ids=[what for what, _ in damaged()])
def test_a_damaged_file_is_a_sentence(what: str, damage: Any) -> None:
    session = start("a")
    run(session, "One?", "/save c.json")
    kept = json.loads(Path("c.json").read_text())
    damage(kept)
    Path("c.json").write_text(json.dumps(kept))
    with pytest.raises((ConversationError, UsageError)) as told:
        archive.read(Path("c.json"), max_pixels=10**6)
    assert len(str(told.value).splitlines()) == 1


@pytest.mark.parametrize("content", [b"", b"[" * 100_000, b"\xff\xfe", b"null", b"3", b'{"a": NaN}'])
def test_what_is_no_conversation_is_a_sentence(content: bytes) -> None:
    Path("c.json").write_bytes(content)
    with pytest.raises(ConversationError, match="is not a saved conversation"):
        archive.read(Path("c.json"), max_pixels=10**6)


# --------------------------------------------------------------------------- the page


def test_the_page_stands_alone_and_shows_what_was_looked_at() -> None:
    session = start('<b>bold</b> & "quoted"', "two", "three")
    run(
        session,
        "One <script>alert(1)</script>?",
        "Two?",
        "/box 5,5,60,60:blue",
        "Three {1}?",
        "/export talk.html",
    )
    written = Path("talk.html").read_text(encoding="utf-8")
    assert written.count("<figure>") == 2
    assert "&lt;script&gt;" in written and "<script" not in written
    assert "&lt;b&gt;bold&lt;/b&gt; &amp;" in written
    assert 'alt="photo.png, marks: within the blue rectangle"' in written
    # Nothing is fetched from anywhere.
    assert re.findall(r'(?:src|href)="(?!data:)', written) == []
    assert "default-src 'none'" in written
    expected = mark([load_picture("photo.png")], session.chat.subject.typed).pixels
    assert html._data_url(expected) in written


def test_a_large_picture_is_shown_smaller() -> None:
    wide = np.zeros((40, 5000, 3), np.uint8)
    import base64
    import io

    shown = html._data_url(wide).partition(",")[2]
    assert Image.open(io.BytesIO(base64.b64decode(shown))).size == (1600, 13)
