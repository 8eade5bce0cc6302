"""A conversation in the browser, without a browser: what its page asks for, and what a terminal takes up."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.scripted import ScriptedAnswerer
from vipcli.asking.interface import Halted, OnText, Reply, Request
from vipcli.chat import archive, history
from vipcli.chat.conversation import Conversation, Subject
from vipcli.chat.session import ChatSession
from vipcli.checkpoints import lookup
from vipcli.cli.web import _command
from vipcli.config import Settings
from vipcli.errors import ImageError, UsageError, VipcliError, as_argument
from vipcli.marks.kinds import TypedMark, parse_mark
from vipcli.picking.conversation import DeferredAnswerer, PageOutput, WebConversation
from vipcli.pictures.images import load_picture

BOX = {"slot": None, "kind": "box", "text": "10,10,40,40:blue"}
ARROW = {"slot": None, "kind": "arrow", "text": "20,20"}


class HeldAnswerer(ScriptedAnswerer):
    """Says one word, and waits until it is halted."""

    def __init__(self, *texts: str) -> None:
        super().__init__(*texts)
        self.begun = threading.Event()

    def answer(self, request: Request, on_text: OnText | None = None, halted: Halted | None = None) -> Reply:
        assert halted is not None
        self.begun.set()
        while not halted():
            threading.Event().wait(0.01)
        return super().answer(request, on_text, halted)


@pytest.fixture(autouse=True)
def _photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (120, 90), (200, 180, 160)).save("photo.png")


def start(*texts: str, answerer: ScriptedAnswerer | None = None, marks: list[TypedMark] | None = None) -> Any:
    scripted = answerer or ScriptedAnswerer(*texts)
    output = PageOutput(as_argument)
    subject = Subject((load_picture("photo.png"),), tuple(marks or ()))
    deferred = DeferredAnswerer(lambda: scripted)
    chat = Conversation(deferred, lookup.find("bundled"), subject)
    session = ChatSession(chat, deferred, output, max_pixels=10**6)
    shown: list[bool] = []
    page = WebConversation(
        session,
        output,
        describe_command=lambda subject, question, chat_settings: _command(
            subject, question, chat_settings, Settings().model
        ),
        shown=lambda: shown.append(True),
    )
    return page, session, scripted, shown


def call(page: WebConversation, name: str, message: dict[str, Any] | None = None) -> Any:
    return page.handlers[name](message or {})


def ask(page: WebConversation, question: str, marks: list[dict[str, Any]] | None = None) -> list[Any]:
    return list(call(page, "ask", {"question": question, "marks": marks or []}))


def test_questions_and_marks_go_through_the_conversation() -> None:
    page, session, answerer, _ = start("a tree\n", "two\n")
    events = ask(page, "What is {1}?", [BOX])
    assert events == [
        {"text": "a tree\n"},
        {
            "question": "What is within the blue rectangle?",
            "answer": "a tree\n",
            "ended": "stop",
            "probability": 0.5,
            "turns": 1,
        },
    ]
    events = ask(page, "And {1} and {2}?", [BOX, ARROW])
    assert events[0] == {
        "note": "The picture has changed, so the model looks at it again; the earlier turn is kept."
    }
    assert [mark.kind for mark in session.chat.marks] == ["box", "arrow"]
    assert len(answerer.requests[1].past_turns) == 1
    # Marks go as they come.
    answerer.texts.append("three\n")
    ask(page, "Without them?")
    assert session.chat.marks == ()


def test_the_terminal_goes_on_with_what_was_said_in_the_browser() -> None:
    page, _session, _, _ = start("a tree\n")
    ask(page, "What is {1}?", [BOX])
    path = history.last_conversation()
    assert path is not None
    saved = archive.read(path, max_pixels=10**6)
    assert [turn.answer for turn in saved.turns] == ["a tree\n"]
    assert [mark.text for mark in saved.subject.typed] == ["10,10,40,40:blue"]
    assert call(page, "save") == path.read_bytes()
    assert b"a tree" in call(page, "export")


def test_the_browser_goes_on_with_what_was_said_in_the_terminal() -> None:
    page, session, _, _ = start("a tree\n", "green\n", marks=[parse_mark("point", "5,5")])
    session.run(["What is {1}?"])
    begun = call(page, "start")
    assert begun["conversation"]["turns"][0]["answer"] == "a tree\n"
    (mark,) = begun["marks"]
    assert (mark["kind"], mark["points"], mark["color"], mark["frame"]) == ("point", [(5, 5)], None, None)
    assert begun["slots"] == []
    ask(page, "Which color?", [{"slot": None, "kind": "point", "text": "5,5"}])
    assert len(session.chat.turns) == 2


def test_marks_that_a_page_cannot_draw_stay_or_go() -> None:
    typed = [
        parse_mark("point", "50%,50%"),
        parse_mark("box", "2,2,30,30:#ff8800"),
        parse_mark("point", "1.5,2"),
    ]
    page, session, _, _ = start("a\n", "b\n", marks=typed)
    begun = call(page, "start")
    assert [slot["text"] for slot in begun["slots"]] == ["50%,50%", "1.5,2"]
    assert begun["marks"][0]["color"] == "#ff8800"
    ask(page, "A?", [{"slot": 0, "kind": "point", "text": None}, {"slot": 1, "kind": "point", "text": None}])
    assert [mark.text for mark in session.chat.subject.typed] == ["50%,50%", "1.5,2"]
    ask(page, "B?", [{"slot": 1, "kind": "point", "text": None}])
    assert [mark.text for mark in session.chat.subject.typed] == ["1.5,2"]


def test_the_mark_of_a_file_stays(tmp_path: Path) -> None:
    mask = Image.new("L", (120, 90))
    mask.paste(255, (10, 10, 50, 50))
    mask.save("mask.png")
    page, session, _, _ = start("it\n", marks=[parse_mark("mask", "mask.png")])
    assert call(page, "start")["slots"][0]["text"] == "mask.png"
    ask(page, "{1}, {2}?", [{"slot": 0, "kind": "mask", "text": None}, BOX])
    assert [mark.kind for mark in session.chat.marks] == ["mask", "box"]


def test_an_answer_is_stopped_and_its_text_kept() -> None:
    answerer = HeldAnswerer("one\ntwo\n")
    page, session, _, _ = start(answerer=answerer)
    events = call(page, "ask", {"question": "Long?", "marks": []})
    assert answerer.begun.wait(10)
    with pytest.raises(UsageError, match="Another answer is on its way"):
        call(page, "ask", {"question": "Meanwhile?", "marks": []})
    with pytest.raises(UsageError, match="An answer is on its way"):
        page.uploads["open"]("other.png", Path("photo.png").read_bytes())
    call(page, "stop")
    assert [next(iter(event)) for event in events if event] == ["text", "note", "question"]
    assert session.chat.turns[0].answer == "one\n"
    assert session.chat.turns[0].ended == "halted"


def test_a_page_that_is_closed_stops_its_answer() -> None:
    answerer = HeldAnswerer("one\ntwo\n")
    page, session, _, _ = start(answerer=answerer)
    events: Iterator[Any] = call(page, "ask", {"question": "Long?", "marks": []})
    assert answerer.begun.wait(10)
    # A sign of life, since there is no text yet.
    assert next(events) == {}
    events.close()  # type: ignore[attr-defined]
    assert page._busy.acquire(timeout=10)
    assert session.chat.turns[0].ended == "halted"


def test_the_end_of_an_earlier_page_does_not_stop_the_next_answer() -> None:
    page, session, _, _ = start("one\n", "two\n")
    earlier: Iterator[Any] = call(page, "ask", {"question": "One?", "marks": []})
    assert next(earlier) == {"text": "one\n"}
    assert page._busy.acquire(timeout=10)
    page._busy.release()
    answerer = HeldAnswerer("two\nthree\n")
    session.chat._answerer = answerer
    later: Iterator[Any] = call(page, "ask", {"question": "Two?", "marks": []})
    assert answerer.begun.wait(10)
    # The server notices late that the page has gone.
    earlier.close()  # type: ignore[attr-defined]
    assert not page._output.halted.is_set()
    call(page, "stop")
    assert list(later)[-1]["answer"] == "two\n"


def test_an_answer_in_progress_is_saved_when_the_command_ends() -> None:
    answerer = HeldAnswerer("one\ntwo\n")
    page, _, _, _ = start(answerer=answerer)
    events = call(page, "ask", {"question": "Long?", "marks": []})
    assert answerer.begun.wait(10)
    page.close(10)
    path = history.last_conversation()
    assert path is not None
    assert [turn.answer for turn in archive.read(path, max_pixels=10**6).turns] == ["one\n"]
    assert list(events)[-1]["ended"] == "halted"
    with pytest.raises(UsageError, match="Another answer is on its way"):
        ask(page, "Too late?")


def test_retry_settings_and_questions_with_a_slash() -> None:
    page, session, answerer, _ = start("1\n", "1\n", "3\n")
    ask(page, "How many?")
    assert {"note": "At temperature 0, an answer does not change. /set temperature 0.7 varies it."} in list(
        call(page, "retry")
    )
    assert ask(page, "/set max_new_tokens 7") == [{"done": True}]
    (refusal,) = ask(page, "/set nonsense 7")
    assert refusal["error"].startswith("nonsense cannot be changed in a conversation.")
    (refusal,) = ask(page, "/quitt")
    assert "Did you mean /quit?" in refusal["error"]
    for elsewhere, advice in (("/quit", "Ctrl-C"), ("/save a.json", "Save"), ("/box 1,1,5,5", "Draw")):
        with pytest.raises(UsageError, match=advice):
            ask(page, elsewhere)
    helped, done = ask(page, "/help")
    assert done == {"done": True}
    assert "/set" in helped["note"]
    assert "/export" not in helped["note"]
    ask(page, "//etc is what?")
    assert session.chat.turns[-1].question == "/etc is what?"
    assert answerer.requests[-1].sampling.max_new_tokens == 7


def test_another_picture_is_kept_for_resuming() -> None:
    page, _session, answerer, _ = start("a\n", "b\n")
    ask(page, "One?", [BOX])
    Image.new("RGB", (60, 50), (1, 2, 3)).save("dropped.png")
    begun = page.uploads["open"]("../my photo.png", Path("dropped.png").read_bytes())
    assert begun["pictures"][0]["width"] == 60
    assert begun["marks"] == []
    ask(page, "Two?")
    assert answerer.requests[1].images[0].shape == (50, 60, 3)
    Path("dropped.png").unlink()
    path = history.last_conversation()
    assert path is not None
    saved = archive.read(path, max_pixels=10**6)
    assert saved.missing is None
    (picture,) = saved.subject.pictures
    assert Path(picture.name).parent == path.parent / "pictures"
    assert Path(picture.name).name.startswith("my-photo-")


def test_what_is_no_picture_is_refused_and_not_kept() -> None:
    page, session, _, _ = start()
    with pytest.raises(ImageError, match=r"^'notes.txt' is not a picture"):
        page.uploads["open"]("notes.txt", b"hello")
    assert session.chat.subject.pictures[0].width == 120
    assert list((history._chats_folder() / "pictures").glob("*")) == []


def test_a_picture_that_is_refused_stays_where_another_conversation_has_it() -> None:
    page, _session, _, _ = start("a\n")
    content = Path("photo.png").read_bytes()
    page.uploads["open"]("photo.png", content)
    ask(page, "One?")
    (kept,) = (history._chats_folder() / "pictures").iterdir()
    page._max_pixels = 5
    with pytest.raises(ImageError):
        page.uploads["open"]("photo.png", content)
    assert kept.read_bytes() == content


def test_pictures_are_deleted_with_their_conversations() -> None:
    kept, unused, new = (history.keep_picture(f"{name}.png", name.encode()) for name in ("a", "b", "c"))
    history.save(history.new_conversation(), json.dumps({"source": str(kept)}))
    for old in (kept, unused):
        os.utime(old, (1, 1))
    history.new_conversation()
    assert (kept.exists(), unused.exists(), new.exists()) == (True, False, True)


def test_the_model_is_loaded_once_the_picture_is_there() -> None:
    connected: list[bool] = []

    def connect() -> ScriptedAnswerer:
        connected.append(True)
        return ScriptedAnswerer("a\n", "b\n")

    deferred = DeferredAnswerer(connect)
    page, session, _, shown = start()
    assert not shown
    content = call(page, "picture", {"picture": 0})
    assert (content[8:12], shown) == (b"WEBP", [True])
    chat = Conversation(deferred, lookup.find("bundled"), session.chat.subject)
    assert not connected
    assert [chat.ask("A?").text, chat.ask("B?").text] == ["a\n", "b\n"]
    assert connected == [True]


def test_an_error_of_the_model_ends_the_stream_and_not_the_conversation() -> None:
    page, _session, answerer, _ = start("fine\n")
    answerer.texts.clear()
    assert ask(page, "Now?") == [{"error": "The model failed on this question: IndexError."}]
    answerer.texts.append("fine\n")
    assert ask(page, "Again?")[-1]["answer"] == "fine\n"
    assert ask(page, "What is {3}?", [BOX]) == [
        {"error": "The question mentions mark {3}, but there is one mark. The first is {1}."}
    ]


@pytest.mark.parametrize("question", [None, "", "  "])
def test_without_a_question_the_default_one_is_asked(question: str | None) -> None:
    page, _session, _, _ = start("a tree\n", "a street\n")
    events = list(call(page, "ask", {"question": question, "marks": [BOX]}))
    assert events[-1]["question"] == "What is the object within the blue rectangle?"
    events = list(call(page, "ask", {"question": question, "marks": []}))
    assert events[-1]["question"] == "What is shown in this picture?"


@pytest.mark.parametrize("message", [{"question": 5, "marks": []}, None, [1], {"question": "A?", "marks": 5}])
def test_a_message_that_is_no_question_is_refused(message: Any) -> None:
    page, _, _, _ = start()
    with pytest.raises(UsageError):
        page.handlers["ask"](message)


def test_marks_that_cannot_be_drawn_are_refused_before_anything_is_asked() -> None:
    page, session, _, _ = start()
    with pytest.raises(VipcliError, match="lies outside the picture"):
        ask(page, "What?", [{"slot": None, "kind": "point", "text": "500,500"}])
    assert not session.chat.turns
    assert page._busy.acquire(blocking=False)


def test_the_command_asks_the_same_on_the_command_line() -> None:
    page, _, _, _ = start("a tree\n")
    ask(page, "What's {1}?", [BOX])
    assert call(page, "command", {"marks": [BOX, ARROW]}) == {
        "command": """vipcli ask photo.png 'What'"'"'s {1}?' --box 10,10,40,40:blue --arrow 20,20"""
    }
    assert call(page, "command", {"marks": [], "question": "Why?"}) == {
        "command": "vipcli ask photo.png 'Why?'"
    }


def test_the_command_has_the_settings_of_the_conversation() -> None:
    page, _, _, _ = start("a tree\n")
    assert ask(page, "/set temperature 0.7") == [{"done": True}]
    assert ask(page, "/system Be brief.") == [{"done": True}]
    ask(page, "What is it?")
    assert call(page, "command", {"marks": []}) == {
        "command": "vipcli ask photo.png 'What is it?' --system 'Be brief.' --temperature 0.7"
    }


def test_a_page_is_told_when_the_conversation_ends() -> None:
    page, _, _, _ = start()
    events = call(page, "events")
    assert next(events) == {}
    page.close()
    assert list(events) == [{"closed": True}]
