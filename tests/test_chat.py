"""Chat sessions line by line: questions, commands, saved conversations and exported pages."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.commands import Ran
from tests.commands import run as run_command
from tests.scripted import ScriptedAnswerer
from vipcli.asking.interface import Halted, OnText, Reply, Request
from vipcli.asking.pipeline import mark
from vipcli.chat import archive, history, html
from vipcli.chat.conversation import ChatSettings, Conversation, Subject
from vipcli.chat.session import COMMANDS, ChatSession
from vipcli.checkpoints import lookup
from vipcli.cli.chat import TerminalChatOutput
from vipcli.config import Settings
from vipcli.errors import ContextError, ConversationError, Message, OutputError, UsageError, VipcliError
from vipcli.files import state_folder
from vipcli.marks.kinds import TypedMark, UnplacedMark, parse_mark
from vipcli.pictures.images import Pixels, load_picture

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
    output = TerminalChatOutput(Settings(), quiet=False, interactive=False)
    return ChatSession(chat, answerer, output, max_pixels=10**6)


def run(session: ChatSession, *lines: str) -> None:
    session.run(lines)


def requests(session: ChatSession) -> list[Request]:
    answerer = session._answerer
    assert isinstance(answerer, ScriptedAnswerer)
    return answerer.requests


# --------------------------------------------------------------------------- whole transcripts


def chat(*arguments: str, lines: str) -> Ran:
    return run_command("chat", *arguments, stdin=lines.encode())


def test_transcript_with_the_bundled_model() -> None:
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
        "This comes after the end.",
    )
    done = chat(picture, lines="\n".join(lines) + "\n")
    assert done.code == 0, done.err
    expected = json.loads((Path(__file__).parent / "chat.json").read_text(encoding="utf-8"))
    assert [done.out.splitlines(), done.err.splitlines()] == [expected["out"], expected["err"]]


def test_a_script_ends_at_its_first_error() -> None:
    done = chat("photo.png", lines="/bxo 1,1,2,2\n/marks\n")
    assert (done.code, done.out) == (2, "")
    assert done.err == "error: There is no command /bxo. Did you mean /box?\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Name a picture to talk about"),
        (("-",), "Standard input is used for questions"),
        (("--resume", "--box", "1,1,9,9"), "Marks and frames need a picture"),
        (("photo.png", "What is it?"), "Type questions once the conversation has started"),
        # Before a box is drawn for it.
        (("photo.png", "--box", "--resume"), "There is no conversation to resume"),
        (("--resume",), "There is no conversation to resume. Start one: vipcli chat PICTURE"),
        (("nothing.png",), "nothing.png"),
        (("photo.png", "--box", "1,2"), "box"),
        (("photo.png", "--temperature", "hot"), "--temperature is 'hot'"),
    ],
)
def test_wrong_use_is_an_error_before_a_model_is_loaded(arguments: tuple[str, ...], message: str) -> None:
    done = chat(*arguments, lines="Q\n")
    assert done.code in (1, 2)
    assert done.out == ""
    assert message in done.err and done.err.count("\n") == 1


# --------------------------------------------------------------------------- asking


def test_earlier_turns_are_sent_with_their_tokens() -> None:
    session = start("a red dog", "a tree", "yes")
    run(session, "What is it?", "And left of it?", "Sure?")
    first, second, third = requests(session)
    assert first.past_turns == () and first.min_answer_tokens == 1
    assert [turn.token_ids for turn in third.past_turns] == [(0, 1, 2), (0, 1)]
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
    shown = capsys.readouterr()
    assert shown.out == "a\nb\nc\nd\n"
    assert shown.err.splitlines() == [
        "note: {1} within the red rectangle: box 10,10 50,50",
        "note: The picture has changed, so the model looks at it again; the earlier turn is kept.",
        "note: Removed the red rectangle.",
        "note: The picture has changed, so the model looks at it again; the 2 earlier turns are kept.",
        "note: The picture is now other.png (120 × 90).",
        "note: The picture has changed, so the model looks at it again; the 3 earlier turns are kept.",
    ]
    assert [turn.phrases for turn in session.chat.turns] == [(), ("within the red rectangle",), (), ()]


def test_a_retry_does_not_repeat_that_the_picture_changed(capsys: pytest.CaptureFixture[str]) -> None:
    session = start("a", "b", "c")
    run(session, "What is it?", "/box 10,10,50,50", "What is {1}?", "/retry")
    assert capsys.readouterr().err.count("The picture has changed") == 1


class RoomForTwoTurns(ScriptedAnswerer):
    """A model whose context holds a question and two turns."""

    def answer(self, request: Request, on_text: OnText | None = None, halted: Halted | None = None) -> Reply:
        if len(request.past_turns) > 2:
            raise ContextError("There is no room. Ask something shorter.")
        return super().answer(request, on_text, halted)


def test_the_oldest_turns_of_a_full_conversation_are_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    session = start(answerer=RoomForTwoTurns(*"abcdefg"))
    run(session, *(f"Question {number}?" for number in range(1, 8)))
    note = "note: The conversation is too long for the model, so the oldest 2 turns were dropped."
    assert capsys.readouterr().err.splitlines() == [f"{note} The picture is kept."] * 2
    last = requests(session)[-1]
    assert len(session.chat.turns) == 7 and session.chat.dropped == 4
    assert last.past_turns[0].prompt.endswith("###Human: <image>\nQuestion 5?###Assistant:")
    assert "Question 1?" not in last.user_texts


class NoRoom(ScriptedAnswerer):
    """A model whose context holds no question at all."""

    def answer(self, request: Request, on_text: OnText | None = None, halted: Halted | None = None) -> Reply:
        raise ContextError("There is no room. Ask something shorter.")


def test_a_question_too_long_for_an_empty_conversation_is_an_error() -> None:
    session = start(answerer=NoRoom())
    with pytest.raises(ContextError, match="Ask something shorter"):
        session.run_line("Long?")
    assert session.chat.turns == []


def test_a_retry_asks_about_the_current_marks(capsys: pytest.CaptureFixture[str]) -> None:
    session = start("a", "b", "b2", "b2")
    run(session, "One?", "/box 1,1,50,50", "What is {1}?", "/undo", "/arrow 40,40", "/retry")
    assert [turn.question for turn in session.chat.turns] == ["One?", "What is pointed to by the red arrow?"]
    assert [turn.answer for turn in session.chat.turns] == ["a", "b2"]
    capsys.readouterr()
    session.run_line("/retry")
    assert "At temperature 0, an answer does not change" in capsys.readouterr().err


def test_a_question_that_never_fits_drops_no_turns() -> None:
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


def test_a_retry_stopped_before_the_first_word_keeps_the_turn() -> None:
    class Halting(ScriptedAnswerer):
        def answer(
            self, request: Request, on_text: OnText | None = None, halted: Halted | None = None
        ) -> Reply:
            reply = super().answer(request, on_text, halted)
            return reply if reply.text else replace(reply, ended="halted")

    session = start(answerer=Halting("a", ""))
    run(session, "One?", "/retry")
    assert [turn.answer for turn in session.chat.turns] == ["a"]


def test_nan_and_undecodable_file_names_can_be_saved(tmp_path: Path) -> None:
    class Unsure(ScriptedAnswerer):
        def answer(
            self, request: Request, on_text: OnText | None = None, halted: Halted | None = None
        ) -> Reply:
            return replace(super().answer(request, on_text, halted), probability=float("nan"))

    name = os.fsdecode(b"caf\xe9.png")
    shutil.copy("photo.png", name)
    session = start(answerer=Unsure("a"))
    run(session, f"/image {name}", "One?", "/save c.json", "/export c.html")
    data = json.loads(Path("c.json").read_text())
    assert data["exchanges"][0]["probability"] is None
    assert data["scene"]["pictures"][0]["source"].endswith("caf\\udce9.png")
    assert "caf" in Path("c.html").read_text()


def test_a_loaded_conversation_is_saved_again_only_after_a_turn() -> None:
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


def test_each_sampled_answer_records_its_seed() -> None:
    session = start("a", "b", "c", temperature=0.7)
    run(session, "One?", "Two?")
    seeds = [request.sampling.seed for request in requests(session)]
    assert seeds[0] != seeds[1]
    assert [turn.settings.seed for turn in session.chat.turns] == seeds
    run(session, "/set seed 5", "Three?")
    assert requests(session)[-1].sampling.seed == 5


# --------------------------------------------------------------------------- commands


def test_a_mark_without_coordinates_is_drawn_by_hand() -> None:
    answerer, output = ScriptedAnswerer("one"), RecordedOutput()
    chat = Conversation(answerer, BUNDLED, Subject((load_picture("photo.png"),)))
    ChatSession(chat, answerer, output, max_pixels=10**6).run(["/box :blue"])
    assert [mark.kind for mark in chat.marks] == ["box", "point"]
    assert output.shown == [
        "note: {1} within the red rectangle: box 2,2 40,40",
        "note: {2} at the lime point: point 9,9",
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("/bx 1,1,2,2", "There is no command /bx. Did you mean /box?"),
        ("/zzzz", "There is no command /zzzz. /help lists the commands."),
        ("/", "There is no command /. /help lists"),
        ("/box", "The box has no coordinates. Write them in pixels or percent"),
        ("/arrow :red", "The arrow has no coordinates. Write them in pixels or percent"),
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
def test_a_wrong_command_is_an_error_and_changes_nothing(line: str, message: str) -> None:
    session = start()
    before = archive.to_json(session.chat)
    with pytest.raises(VipcliError, match=re.escape(message)):
        session.run_line(line)
    assert archive.to_json(session.chat) == before
    assert (Path("photo.png").read_bytes()[:4], Path("photo.json").exists()) == (b"\x89PNG", False)


def test_settings_change_during_a_conversation(capsys: pytest.CaptureFixture[str]) -> None:
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
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "width           5.0\n" in shown.err
    assert "prompt is vicuna.\n" in shown.err


def test_two_slashes_begin_a_question_with_one() -> None:
    session = start("a")
    session.run_line("//dev/null is what?")
    assert session.chat.turns[0].question == "/dev/null is what?"


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    start().run_line("/help")
    shown = capsys.readouterr()
    assert shown.out == ""
    for name in COMMANDS:
        assert f"\n/{name}" in "\n" + shown.err


def test_stats_describe_the_last_answer(capsys: pytest.CaptureFixture[str]) -> None:
    class Timed(ScriptedAnswerer):
        def answer(
            self, request: Request, on_text: OnText | None = None, halted: Halted | None = None
        ) -> Reply:
            return replace(super().answer(request, on_text, halted), seconds={"first_token": 0.25})

    session = start(answerer=Timed("one two"))
    run(session, "/stats", "Q", "/stats")
    shown = capsys.readouterr().err
    assert "turns       0" in shown and "turns       1" in shown
    assert "answer      2 tokens" in shown and "first token 0.25 s" in shown


# --------------------------------------------------------------------------- saving


def test_a_saved_and_loaded_conversation_continues_the_same(tmp_path: Path) -> None:
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
    run(session, "/save saved.json")
    text = archive.to_json(session.chat)
    session.run_line("Three?")
    other = start("c")
    os.chdir("/")
    run(other, f"/load {tmp_path}/saved.json")
    assert archive.to_json(other.chat) == text
    other.run_line("Three?")
    (ours,), (*_, theirs) = requests(other), requests(session)
    assert (ours.prompt, ours.past_turns, ours.user_texts) == (
        theirs.prompt,
        theirs.past_turns,
        theirs.user_texts,
    )
    assert ours.images[0].tobytes() == theirs.images[0].tobytes()


def test_the_current_conversation_is_saved_after_each_turn() -> None:
    session = start("a red dog", "b")
    session.run_line("One?")
    # As if the machine had stopped here.
    (file,) = (state_folder() / "chats").iterdir()
    assert oct(state_folder().stat().st_mode)[-3:] == "700"
    assert json.loads(file.read_text())["exchanges"][0]["answer"] == "a red dog"
    last = history.last_conversation()
    assert last is not None
    saved = archive.read(last, max_pixels=10**6)
    resumed = archive.resume(saved, ScriptedAnswerer("b"), BUNDLED)
    assert [turn.answer for turn in resumed.turns] == ["a red dog"]


def test_resume_continues_the_last_conversation() -> None:
    picture = str(SAMPLES / "shapes.png")
    begun = chat(picture, "--box", "8%,36%,31%,66%", lines="Which number is {1}?\n")
    assert begun.out == "7\n"
    done = chat("--resume", lines="What color is it?\n")
    assert done.code == 0
    assert done.out == "green\n"
    assert done.err.splitlines() == [
        f"note: Resumed the conversation about {picture}, after one turn.",
        "> Which number is within the red rectangle?",
        "7",
    ]
    assert "after 2 turns" in chat("--resume", lines="").err


def test_only_the_newest_conversations_are_kept() -> None:
    chats = state_folder() / "chats"
    chats.mkdir()
    for number in range(60):
        (chats / f"{number:02}.json").write_text("{}")
        os.utime(chats / f"{number:02}.json", (number, number))
    history.save(history.new_conversation(), "{}")
    names = sorted(file.name for file in chats.iterdir())
    assert len(names) == 50
    assert names[0] == "11.json"


def test_a_failure_to_save_is_noted_once_and_the_conversation_continues(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(path: Path, text: str) -> None:
        raise OutputError("The disk is full.")

    monkeypatch.setattr(history, "save", fail)
    session = start("a", "b")
    run(session, "One?", "Two?")
    shown = capsys.readouterr()
    assert shown.out == "a\nb\n"
    assert "note: This conversation is not being saved: The disk is full." in shown.err


def test_answers_of_another_model_are_sent_as_text() -> None:
    session = start("a dog")
    session.run_line("One?")
    Path("c.json").write_text(
        archive.to_json(session.chat).replace('"model": "bundled"', '"model": "other/model"')
    )
    taken = archive.resume(archive.read(Path("c.json"), max_pixels=10**6), ScriptedAnswerer(), BUNDLED)
    assert taken.turns[0].token_ids is None
    assert "###Human: <image>\nOne?###Assistant: a dog###Human: Two?" in taken.prepare("Two?").prompt


def test_changed_and_missing_pictures_are_noted() -> None:
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


def test_a_conversation_without_its_picture_resumes_with_another(tmp_path: Path) -> None:
    shutil.copy(SAMPLES / "shapes.png", "here.png")
    assert chat("here.png", "--box", "8%,36%,31%,66%", lines="Which number is {1}?\n").out == "7\n"
    Path("here.png").rename("there.png")
    done = chat("--resume", lines="What color is it?\n")
    assert done.code == 1
    assert "here.png" in done.err and "name another picture beside --resume" in done.err
    done = chat("there.png", "--box", "8%,36%,31%,66%", "--resume", lines="What color is it?\n")
    assert (done.code, done.out) == (0, "green\n")
    assert "after one turn" in done.err


def test_file_names_with_spaces_can_be_quoted() -> None:
    shutil.copy("other.png", "a mask.png")
    session = start()
    run(session, "/mask 'a mask.png':aqua", '/contour "a mask.png"', '/image "a mask.png"')
    assert session.chat.subject.pictures[0].name == "a mask.png"


def test_a_file_of_an_earlier_version_resumes_and_is_written_the_same() -> None:
    """Its keys are part of the file format, whatever the code calls them."""
    text = (Path(__file__).parent / "golden" / "conversation-1.json").read_text(encoding="utf-8")
    text = text.replace("SAMPLES", str(SAMPLES))
    Path("old.json").write_text(text, encoding="utf-8")
    session = start("yes")
    run(session, "/load old.json")
    assert [turn.answer for turn in session.chat.turns] == ["7", "green", "a car"]
    assert session.chat.settings == ChatSettings(fit="pad", temperature=0.5, seed=3, width=4.0)
    assert session.chat.marks[0].phrase == "with the aqua mask"
    assert archive.read(Path("old.json"), max_pixels=10**6).notes == ()
    run(session, "/save new.json")
    assert json.loads(Path("new.json").read_text()) == json.loads(text)
    run(session, "Sure?")
    assert [turn.token_ids for turn in requests(session)[0].past_turns] == [(730,), (573,), (340, 933)]


def test_the_last_conversation_of_an_earlier_version_resumes() -> None:
    text = (Path(__file__).parent / "golden" / "conversation-1.json").read_text(encoding="utf-8")
    (state_folder() / "chats").mkdir()
    history.save(state_folder() / "chats" / "old.json", text.replace("SAMPLES", str(SAMPLES)))
    resumed = chat("--resume", lines="")
    assert (resumed.code, resumed.out) == (0, "")
    assert "after 3 turns" in resumed.err and "> What is with the aqua mask?\na car\n" in resumed.err


class RecordedOutput:
    """Records what a session shows."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def note(self, message: Message | str) -> None:
        self.shown.append(f"note: {message}")

    def info(self, text: str) -> None:
        self.shown.append(f"info: {text}")

    def error(self, error: VipcliError) -> None:
        self.shown.append(f"error: {error}")

    @contextmanager
    def answer(self) -> Iterator[tuple[OnText, Halted | None]]:
        yield lambda text: self.shown.append(f"answer: {text}"), lambda: True

    def place(self, chat: Conversation, mark: UnplacedMark) -> list[TypedMark]:
        return [parse_mark(mark.kind, "2,2,40,40"), parse_mark("point", "9,9")]

    def show_picture(self, pixels: Pixels) -> None:
        self.shown.append(f"picture: {pixels.shape}")


def test_a_session_writes_only_through_its_output(capsys: pytest.CaptureFixture[str]) -> None:
    answerer, output = ScriptedAnswerer("one\ntwo"), RecordedOutput()
    chat = Conversation(answerer, BUNDLED, Subject((load_picture("photo.png"),)))
    session = ChatSession(chat, answerer, output, max_pixels=10**6)
    session.run_interactively(
        ["/bxo", "/box 1,1,50,50:blue", "/show", "What is {1}?", "/marks", "/quit", "Q"]
    )
    assert output.shown == [
        "error: There is no command /bxo. Did you mean /box?",
        "note: {1} within the blue rectangle: box 1,1 50,50",
        "picture: (90, 120, 3)",
        "answer: one\n",
        "note: Stopped.",
        "info: {1} within the blue rectangle: box 1,1 50,50",
    ]
    assert capsys.readouterr() == ("", "")


def damages() -> Iterator[tuple[str, Any]]:
    yield "nothing", lambda data: data.clear()
    yield "another version", lambda data: data.update(vipcli_conversation=99)
    yield "more", lambda data: data.update(more=1)
    yield "no scene", lambda data: data.update(scene={})
    yield "a mark of no kind", lambda data: data["scene"].update(marks=[{"kind": "blot", "text": "1,1"}])
    yield "a mark that cannot be", lambda data: data["scene"].update(marks=[{"kind": "box", "text": "1"}])
    yield "a setting", lambda data: data["manner"].update(temperature="hot")
    yield "an unknown setting", lambda data: data["manner"].update(model="x")
    yield "tokens", lambda data: data["exchanges"][0].update(token_ids=["a"])
    yield "an end", lambda data: data["exchanges"][0].update(ended="never")
    yield "a list", lambda data: data.update(exchanges={})
    yield "too many frames", lambda data: data.update(scene={"video": {"source": "v.mp4", "frames": 10**9}})


@pytest.mark.parametrize(("what", "damage"), list(damages()), ids=[what for what, _ in damages()])
def test_a_damaged_file_is_an_error_of_one_line(what: str, damage: Any) -> None:
    session = start("a")
    run(session, "One?", "/save c.json")
    data = json.loads(Path("c.json").read_text())
    damage(data)
    Path("c.json").write_text(json.dumps(data))
    with pytest.raises((ConversationError, UsageError)) as caught:
        archive.read(Path("c.json"), max_pixels=10**6)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("content", [b"", b"[" * 100_000, b"\xff\xfe", b"null", b"3", b'{"a": NaN}'])
def test_a_file_without_a_conversation_is_an_error(content: bytes) -> None:
    Path("c.json").write_bytes(content)
    with pytest.raises(ConversationError, match="is not a saved conversation"):
        archive.read(Path("c.json"), max_pixels=10**6)


# --------------------------------------------------------------------------- the page


def test_the_exported_page_is_self_contained_and_shows_the_marked_pictures() -> None:
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


def test_large_pictures_are_scaled_down_in_the_page() -> None:
    wide = np.zeros((40, 5000, 3), np.uint8)
    import base64
    import io

    shown = html._data_url(wide).partition(",")[2]
    assert Image.open(io.BytesIO(base64.b64decode(shown))).size == (1600, 13)
