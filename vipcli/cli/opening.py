"""Open a conversation: about a picture, or the last one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from vipcli.cli.mark_arguments import MarkArguments
from vipcli.cli.picking import PickRequest, picking
from vipcli.cli.shared import show_notes
from vipcli.config import Settings
from vipcli.errors import ConversationError, UsageError

if TYPE_CHECKING:
    from vipcli.chat.archive import SavedConversation
    from vipcli.chat.conversation import ChatSettings, Subject


@dataclass(frozen=True, slots=True)
class OpenedConversation:
    """What a conversation begins with."""

    settings: Settings
    """Those of the model among them are the saved conversation's, unless options say otherwise."""
    chat_settings: ChatSettings
    subject: Subject
    saved: SavedConversation | None


def open_conversation(
    image: str | None,
    images: Sequence[str] | None,
    marks: MarkArguments,
    settings: Settings,
    frames: int | None,
    *,
    resume: bool,
    quiet: bool,
) -> OpenedConversation:
    """Load the pictures and draw the marks on them, or read the last conversation, or both."""
    from vipcli.chat.conversation import ChatSettings

    if not resume and image is None:
        raise UsageError("Name a picture to talk about, or resume the last conversation with --resume.")
    if image is None and (images or marks.slots or frames):
        raise UsageError(
            "Marks and frames need a picture. Name one, or draw marks once the conversation has begun."
        )
    # Nobody shall draw marks for a conversation that is not there.
    saved = _read_last(settings, has_picture=image is not None) if resume else None
    subject = None
    if image is not None:
        subject = _load_subject([image, *(images or [])], marks, settings, frames, quiet=quiet)
    if saved is None:
        assert subject is not None
        return OpenedConversation(settings, ChatSettings.of(settings), subject, None)
    settings, saved = _override(settings, saved, subject)
    return OpenedConversation(settings, saved.settings, saved.subject, saved)


def _load_subject(
    sources: list[str],
    marks: MarkArguments,
    settings: Settings,
    frames: int | None,
    *,
    quiet: bool,
) -> Subject:
    from vipcli.chat.conversation import Subject

    with picking(marks, sources, settings, PickRequest("mark", quiet=quiet), frames=frames) as picked:
        marked = picked.marked
    show_notes(marked.notes, quiet=quiet)
    return Subject(
        tuple(marked_picture.picture for marked_picture in marked.pictures), marked.typed, marked.video
    )


def _read_last(settings: Settings, *, has_picture: bool) -> SavedConversation:
    """Read the last conversation; its own pictures may be missing only if there is another."""
    from vipcli.chat import archive, history
    from vipcli.pictures.images import DEFAULT_MAX_PIXELS

    path = history.last_conversation()
    if path is None:
        raise ConversationError("There is no conversation to resume. Start one: vipcli chat PICTURE.")
    saved = archive.read(path, max_pixels=settings.max_pixels or DEFAULT_MAX_PIXELS)
    if saved.missing and not has_picture:
        raise ConversationError(f"{saved.missing} Or name another picture beside --resume.")
    return saved


def _override(
    settings: Settings, saved: SavedConversation, subject: Subject | None
) -> tuple[Settings, SavedConversation]:
    """Options override the settings of a conversation, and a new picture replaces its own."""
    from vipcli.chat.conversation import ChatSettings

    if "model" not in settings.explicit:
        settings = replace(settings, model=saved.model, revision=saved.revision)
    given = {name: getattr(settings, name) for name in settings.explicit}
    chat_settings = ChatSettings.from_values({**asdict(saved.settings), **given})
    return settings, replace(saved, settings=chat_settings, subject=subject or saved.subject)
