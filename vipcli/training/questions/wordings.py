"""The wordings of questions, as templates.

Blanks in a template:

    {x} {y}        a thing by its mark: `the thing within the red rectangle`
    {at}           a mark alone, to follow `what is`: `within the red rectangle`
    {ref}          a mark alone, to follow a noun: `that the red arrow points at`
    {pair}         two things by their marks: `the things at the red point and in the blue box`
    {here}         the picture: `in the picture`
    anything else  filled in by the question's family

Templates begin in lower case; the first letter is capitalized when the blanks are filled.
"""

from __future__ import annotations

from dataclasses import dataclass

# --------------------------------------------------------------------------- marks

# Informal references to a mark. Those that begin with a word of AFTER_NOUN_ONLY cannot follow "what is".
AFTER_NOUN_ONLY = ("that ", "with ", "which ")
INFORMAL_REFERENCES: dict[str, tuple[str, ...]] = {
    "box": (
        "in the {color} rectangle",
        "inside the {color} rectangle",
        "in the {color} box",
        "inside the {color} box",
        "within the {color} box",
        "in the {color} frame",
        "inside the {color} square",
        "enclosed by the {color} rectangle",
        "marked by the {color} box",
        "with the {color} box around it",
        "that the {color} box surrounds",
    ),
    "ellipse": (
        "in the {color} ellipse",
        "inside the {color} ellipse",
        "in the {color} oval",
        "inside the {color} oval",
        "inside the {color} circle",
        "within the {color} circle",
        "surrounded by the {color} ellipse",
        "marked by the {color} ellipse",
        "with the {color} ellipse around it",
        "that the {color} oval surrounds",
    ),
    "triangle": (
        "in the {color} triangle",
        "inside the {color} triangle",
        "within the {color} triangle",
        "enclosed by the {color} triangle",
        "surrounded by the {color} triangle",
        "marked by the {color} triangle",
        "with the {color} triangle around it",
        "that the {color} triangle surrounds",
    ),
    "point": (
        "at the {color} dot",
        "under the {color} dot",
        "under the {color} point",
        "beneath the {color} dot",
        "marked by the {color} point",
        "marked with the {color} dot",
        "with the {color} dot on it",
        "with the {color} point on it",
        "that the {color} dot is on",
    ),
    "arrow": (
        "pointed at by the {color} arrow",
        "indicated by the {color} arrow",
        "at the tip of the {color} arrow",
        "singled out by the {color} arrow",
        "marked by the {color} arrow",
        "shown by the {color} arrow",
        "that the {color} arrow points to",
        "that the {color} arrow points at",
        "which the {color} arrow points to",
    ),
    "scribble": (
        "under the {color} scribble",
        "beneath the {color} scribble",
        "marked with the {color} scribble",
        "marked by the {color} scribble",
        "crossed by the {color} scribble",
        "marked by the {color} squiggle",
        "with the {color} scribble on it",
        "with the {color} scribble over it",
    ),
    "contour": (
        "in the {color} contour",
        "inside the {color} contour",
        "within the {color} mask contour",
        "inside the {color} outline",
        "enclosed by the {color} contour",
        "marked by the {color} contour",
        "with the {color} contour",
        "with the {color} contour around it",
    ),
    "mask": (
        "under the {color} mask",
        "beneath the {color} mask",
        "covered by the {color} mask",
        "covered with the {color} mask",
        "marked by the {color} mask",
        "highlighted by the {color} mask",
        "with the {color} mask on it",
        "with the {color} mask over it",
    ),
}
# References by color, which no other mark may share.
COLOR_REFERENCES: dict[str, tuple[str, ...]] = {
    "box": ("framed in {color}", "boxed in {color}"),
    "ellipse": ("circled in {color}", "encircled in {color}"),
    "contour": ("outlined in {color}", "traced in {color}"),
    "scribble": ("scribbled on in {color}", "scribbled over in {color}"),
    "mask": ("highlighted in {color}", "shaded in {color}"),
}

# Things that could be taken for a mark of each kind: by their kind, and by their texture.
LOOKALIKES: dict[str, tuple[str, ...]] = {
    "box": ("rectangle", "square"),
    "ellipse": ("circle", "oval"),
    "triangle": ("triangle",),
    "point": ("circle",),
}
LOOKALIKE_TEXTURES = {"contour": "outlined", "point": "dotted"}

# Kinds of mark so similar that one cannot be called absent if the other is there in the same color.
SIMILAR_MARKS: tuple[tuple[str, str], ...] = (
    ("box", "contour"),
    ("ellipse", "contour"),
    ("triangle", "contour"),
    ("mask", "contour"),
    ("mask", "point"),
    ("scribble", "contour"),
    ("ellipse", "point"),
    ("ellipse", "scribble"),
)
# Kinds of thing that could be called by each other's name.
SIMILAR_KINDS: tuple[tuple[str, str], ...] = (
    ("square", "rectangle"),
    ("circle", "oval"),
    ("square", "diamond"),
)
# Uses of a thing that are arguable, so that no question expects "no" for them.
ARGUABLE_USES: dict[str, tuple[str, ...]] = {
    "house": ("sitting", "reading", "eating", "drinking", "keeping dry"),
    "car": ("sitting", "keeping dry", "living in"),
    "boat": ("sitting", "keeping dry", "living in", "driving"),
    "cup": ("eating",),
    "clock": ("reading",),
    "apple": ("drinking",),
    "chair": ("reading", "eating"),
}

PLURALS = {"fish": "fish", "cross": "crosses"}

IN_THE_PICTURE = ("in the picture", "in this picture", "in the image", "here")
# Prepositions in front of a place in a description; elsewhere "in the".
PREPOSITIONS = {"left": "at the", "right": "at the", "top": "at the", "bottom": "at the"}

SIDES: dict[str, tuple[str, ...]] = {
    "left": ("to the left of", "left of", "on the left of"),
    "right": ("to the right of", "right of", "on the right of"),
    "above": ("above", "higher up than"),
    "below": ("below", "lower down than"),
}

THINGS = ("thing", "thing", "object", "object", "item")
NUMBERS = ("number", "number", "digit")
LETTERS = ("letter",)
CHARACTERS = ("character", "symbol")

# --------------------------------------------------------------------------- wordings


@dataclass(frozen=True, slots=True)
class Wordings:
    """The templates of one family: plain questions, and clauses set into frames."""

    direct: tuple[str, ...]
    framed: tuple[str, ...] = ()
    nouns: tuple[str, ...] = THINGS
    """Nouns that {x} may use for the thing."""

    @property
    def all(self) -> tuple[str, ...]:
        return self.direct + self.framed


# Frames for a clause such as "what color it is".
_QUESTION_FRAMES = (
    "can you tell me {clause}?",
    "could you tell me {clause}?",
    "please tell me {clause}.",
    "tell me {clause}.",
    "I would like to know {clause}.",
    "I want to know {clause}.",
    "do you know {clause}?",
    "could you say {clause}?",
)
# Frames for a statement such as "it is red".
_YES_NO_FRAMES = (
    "is it true that {clause}?",
    "is it right that {clause}?",
    "would you say that {clause}?",
    "do you think that {clause}?",
    "am I right that {clause}?",
    "yes or no: {clause}?",
    "{clause}, yes or no?",
    "{clause}, right?",
    "{clause}. Is that true?",
    "tell me whether {clause}.",
    "please say if {clause}.",
    "I would like to know whether {clause}.",
)
_FOLLOW_UP_FRAMES = (
    "and can you tell me {clause}?",
    "could you also tell me {clause}?",
    "now tell me {clause}.",
    "also tell me {clause}.",
    "I would also like to know {clause}.",
    "and do you see {clause}?",
)
_YES_NO_FOLLOW_UP_FRAMES = (
    "and is it true that {clause}?",
    "and would you say that {clause}?",
    "so {clause}, right?",
    "and am I right that {clause}?",
)


def _fill_frames(frames: tuple[str, ...], clauses: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(frame.replace("{clause}", clause) for clause in clauses for frame in frames)


def _question(direct: tuple[str, ...], *clauses: str, nouns: tuple[str, ...] = THINGS) -> Wordings:
    return Wordings(direct, _fill_frames(_QUESTION_FRAMES, clauses), nouns)


def _yes_no(direct: tuple[str, ...], *clauses: str, nouns: tuple[str, ...] = THINGS) -> Wordings:
    return Wordings(direct, _fill_frames(_YES_NO_FRAMES, clauses), nouns)


def _follow_up(direct: tuple[str, ...], *clauses: str) -> Wordings:
    return Wordings(direct, _fill_frames(_FOLLOW_UP_FRAMES, clauses))


def _yes_no_follow_up(direct: tuple[str, ...], *clauses: str) -> Wordings:
    return Wordings(direct, _fill_frames(_YES_NO_FOLLOW_UP_FRAMES, clauses))


_WHAT = _question(
    (
        "what is the object {ref}?",
        "what is {x}?",
        "what is {at}?",
        "what's {at}?",
        "what can be seen {at}?",
        "what do you see {at}?",
        "what is shown {at}?",
        "what kind of thing is {at}?",
        "what kind of thing is {x}?",
        "which thing is {at}?",
        "name {x}.",
        "identify {x}.",
        "what would you call {x}?",
        "{x}: what is it?",
        "look at {x}. What is it?",
        "what do you see: {x}?",
        "what is it that you see, {x}?",
    ),
    "what {x} is",
    "what is {at}",
)
_COLOR = _question(
    (
        "what colour is {x}?",
        "which colour is {x}?",
        "what is the colour of {x}?",
        "which colour does {x} have?",
        "what colour does {x} have?",
        "name the colour of {x}.",
        "give the colour of {x}.",
        "{x}: what colour is it?",
        "{x} is what colour?",
        "look at {x}. Which colour is it?",
    ),
    "what colour {x} is",
    "which colour {x} has",
)
_COUNT = _question(
    (
        "how many {kinds} are there {here}?",
        "how many {kinds} are {here}?",
        "how many {kinds} do you see {here}?",
        "how many {kinds} can you count {here}?",
        "how many {kinds} does the picture show?",
        "count the {kinds} {here}.",
        "what is the number of {kinds} {here}?",
    ),
    "how many {kinds} there are {here}",
    "the number of {kinds} {here}",
)
_SIDE = _yes_no(
    (
        "is {x} {side} {y}?",
        "is {x} located {side} {y}?",
        "is {x} placed {side} {y}?",
        "is {x} somewhere {side} {y}?",
        "does {x} lie {side} {y}?",
        "can {x} be found {side} {y}?",
    ),
    "{x} is {side} {y}",
    "{x} lies {side} {y}",
)

WORDINGS: dict[str, Wordings] = {
    "what": _WHAT,
    "nothing": _WHAT,
    "color": _COLOR,
    "texture": _question(
        (
            "is {x} plain, striped, dotted or outlined?",
            "what texture does {x} have?",
            "which texture does {x} have?",
            "what is the texture of {x}?",
            "what pattern does {x} have?",
            "what is the pattern of {x}?",
            "how is {x} filled?",
            "plain, striped, dotted or outlined: which is {x}?",
            "name the texture of {x}.",
            "is {x} striped, dotted, outlined or plain?",
            "what is {x}: plain, striped, dotted or outlined?",
            "{x}: plain, striped, dotted or outlined?",
        ),
        "which texture {x} has",
        "whether {x} is plain, striped, dotted or outlined",
    ),
    "size": _question(
        (
            "is {x} small or large?",
            "is {x} large or small?",
            "what size is {x}?",
            "what is the size of {x}?",
            "how big is {x}?",
            "how large is {x}?",
            "would you call {x} small or large?",
            "{x}: small or large?",
            "small or large: which is {x}?",
        ),
        "what size {x} is",
        "whether {x} is small or large",
    ),
    "is-what": _yes_no(
        (
            "is {x} {kind}?",
            "is the object {ref} {kind}?",
            "is {kind} {at}?",
            "is it {kind} that is {at}?",
            "do you see {kind} {at}?",
            "would you call {x} {kind}?",
            "does {x} look like {kind}?",
        ),
        "{x} is {kind}",
        "what is {at} is {kind}",
    ),
    "is-color": _yes_no(
        (
            "is {x} {color}?",
            "is the colour of {x} {color}?",
            "is {x} {color} in colour?",
            "does {x} have the colour {color}?",
            "would you call {x} {color}?",
        ),
        "{x} is {color}",
        "the colour of {x} is {color}",
    ),
    "is-texture": _yes_no(
        (
            "is {x} {texture}?",
            "is the texture of {x} {texture}?",
            "is the pattern of {x} {texture}?",
            "would you call {x} {texture}?",
        ),
        "{x} is {texture}",
        "the texture of {x} is {texture}",
    ),
    "is-size": _yes_no(
        (
            "is {x} {size}?",
            "is {x} {size} in size?",
            "is {x} a {size} one?",
            "would you call {x} {size}?",
        ),
        "{x} is {size}",
        "{x} is a {size} one",
    ),
    "category": _question(
        (
            "is {x} {options}?",
            "is it {options} that is {at}?",
            "what is {at}: {options}?",
            "what is {x}: {options}?",
            "which of these is {x}: {options}?",
            "{x}: is it {options}?",
            "would you call {x} {options}?",
            "{options}: which is {x}?",
            "{options}: what is {x}?",
            "{bare}: what is {x}?",
            "{bare}: {x}?",
            "{bare}, {x}?",
            "{bare}? {x}.",
            "{bare}: which is {x}?",
            "{x}: {bare}?",
            "{x}: {bare}.",
            "what sort of thing is {x}: {options}?",
        ),
        "whether {x} is {options}",
        "which of these {x} is: {options}",
        nouns=("thing", "item"),
    ),
    "choose-what": _question(
        (
            "is {x} {one} or {two}?",
            "which is {x}, {one} or {two}?",
            "what is {x}, {one} or {two}?",
            "what is {at}, {one} or {two}?",
            "is it {one} or {two} that is {at}?",
            "do you see {one} or {two} {at}?",
            "{one} or {two}: what is {x}?",
            "{one} or {two}: which is {x}?",
            "which of the two is {x}: {one} or {two}?",
            "would you call {x} {one} or {two}?",
        ),
        "whether {x} is {one} or {two}",
        "what {x} is, {one} or {two}",
    ),
    "choose-color": _question(
        (
            "is {x} {one} or {two}?",
            "is the colour of {x} {one} or {two}?",
            "what colour is {x}, {one} or {two}?",
            "which colour does {x} have, {one} or {two}?",
            "which colour is {x}: {one} or {two}?",
            "{one} or {two}: what colour is {x}?",
            "would you call {x} {one} or {two}?",
        ),
        "whether {x} is {one} or {two}",
        "what colour {x} is, {one} or {two}",
    ),
    "letter": _question(
        (
            "which letter is {at}?",
            "what letter is {at}?",
            "which letter do you see {at}?",
            "what letter can be seen {at}?",
            "which letter is shown {at}?",
            "which letter of the alphabet is {at}?",
            "which letter is {x}?",
            "what letter do you see: {x}?",
            "what letter do you read, looking at {x}?",
            "which one is {x}?",
            "what is {x}?",
            "read {x}.",
            "name {x}.",
        ),
        "which letter is {at}",
        "what letter is {at}",
        nouns=LETTERS,
    ),
    "number": _question(
        (
            "which number is {at}?",
            "what number is {at}?",
            "which number do you see {at}?",
            "what number can be seen {at}?",
            "which number is shown {at}?",
            "which digit is {at}?",
            "which one is {x}?",
            "what is {x}?",
            "read {x}.",
            "name {x}.",
            "which number is {x}?",
            "what number do you see: {x}?",
            "what number do you read {at}?",
            "what number do you read, looking at {x}?",
        ),
        "which number is {at}",
        "what number is {at}",
        nouns=NUMBERS,
    ),
    "read": _question(
        (
            "read what is {at}.",
            "read {x}.",
            "read out {x}.",
            "which letter or number is {at}?",
            "what letter or number is {at}?",
            "which letter or digit do you see {at}?",
            "which character is {at}?",
            "what character can be seen {at}?",
            "{x}: which one is it?",
        ),
        "which letter or number is {at}",
        "which character is {at}",
        nouns=CHARACTERS,
    ),
    "corners": _question(
        (
            "how many corners does {x} have?",
            "how many corners are there on {x}?",
            "how many corners can you count on {x}?",
            "what is the number of corners of {x}?",
            "count the corners of {x}.",
            "{x} has how many corners?",
            "{x}: how many corners does it have?",
        ),
        "how many corners {x} has",
        "how many corners there are on {x}",
        nouns=("shape", "thing", "object"),
    ),
    "alive": _yes_no(
        (
            "is {x} alive?",
            "is {x} a living thing?",
            "is {x} something alive?",
            "is {x} something that lives?",
            "does {x} show something alive?",
        ),
        "{x} is alive",
        "{x} is a living thing",
    ),
    "use": _question(
        (
            "what is {x} used for?",
            "what is {x} good for?",
            "what is {x} meant for?",
            "what is {x} for?",
            "what do people use {x} for?",
            "what would you use {x} for?",
            "what is the use of {x}?",
            "what is the purpose of {x}?",
        ),
        "what {x} is used for",
        "what people use {x} for",
    ),
    "is-use": _yes_no(
        (
            "is {x} used for {use}?",
            "is {x} good for {use}?",
            "is {x} meant for {use}?",
            "do people use {x} for {use}?",
            "would you use {x} for {use}?",
        ),
        "{x} is used for {use}",
        "people use {x} for {use}",
    ),
    "vowel": _question(
        (
            "is {x} a vowel or a consonant?",
            "is {x} a consonant or a vowel?",
            "vowel or consonant: which is {x}?",
            "which is {x}, a vowel or a consonant?",
            "what is {x}, a consonant or a vowel?",
            "would you call {x} a vowel or a consonant?",
            "{x}: vowel or consonant?",
            "consonant or vowel: what is {x}?",
        ),
        "whether {x} is a vowel or a consonant",
        "which {x} is, a vowel or a consonant",
        nouns=LETTERS,
    ),
    "parity": _question(
        (
            "is {x} odd or even?",
            "is {x} even or odd?",
            "is {x} an odd or an even number?",
            "odd or even: which is {x}?",
            "which is {x}, odd or even?",
            "what is {x}, even or odd?",
            "{x}: odd or even?",
            "odd or even: what is {x}?",
            "even or odd: what is {x}?",
            "is {x} even, or is it odd?",
        ),
        "whether {x} is odd or even",
        "whether {x} is an even or an odd number",
        nouns=NUMBERS,
    ),
    "sum": _question(
        (
            "what is the sum of {x} and {y}?",
            "what is the sum of {pair}?",
            "what is {x} plus {y}?",
            "how much is {x} plus {y}?",
            "what do {pair} add up to?",
            "what do {x} and {y} come to?",
            "how much are {x} and {y} together?",
            "what do {x} and {y} make together?",
            "add {x} and {y}.",
            "add up {pair}.",
        ),
        "the sum of {x} and {y}",
        "what {pair} add up to",
        nouns=NUMBERS,
    ),
    "difference": _question(
        (
            "what is the difference between {x} and {y}?",
            "what is the difference between {pair}?",
            "by how much do {x} and {y} differ?",
            "by how much do {pair} differ?",
            "how large is the difference between {x} and {y}?",
            "give the difference between {x} and {y}.",
            "how far apart are {pair}?",
            "how far is it from {x} to {y}?",
        ),
        "the difference between {x} and {y}",
        "by how much {pair} differ",
        nouns=NUMBERS,
    ),
    "larger-number": _question(
        (
            "which is larger, {x} or {y}?",
            "which is greater, {x} or {y}?",
            "which number is larger, the one {ref} or the one {ref2}?",
            "what is the larger of {pair}?",
            "which of {pair} is the larger number?",
            "which is the greater number, {x} or {y}?",
            "which one is larger: {x} or {y}?",
            "which is the higher number, {x} or {y}?",
            "which is higher, {x} or {y}?",
        ),
        "which is larger, {x} or {y}",
        "which of {pair} is greater",
        nouns=NUMBERS,
    ),
    "smaller-number": _question(
        (
            "which is smaller, {x} or {y}?",
            "which is less, {x} or {y}?",
            "which number is smaller, the one {ref} or the one {ref2}?",
            "what is the smaller of {pair}?",
            "which of {pair} is the smaller number?",
            "which is the lesser number, {x} or {y}?",
            "which one is smaller: {x} or {y}?",
            "which is the lower number, {x} or {y}?",
            "which is lower, {x} or {y}?",
        ),
        "which is smaller, {x} or {y}",
        "which of {pair} is less",
        nouns=NUMBERS,
    ),
    "is-larger-number": _yes_no(
        (
            "is {x} larger than {y}?",
            "is {x} greater than {y}?",
            "is {x} a larger number than {y}?",
            "is {x} more than {y}?",
        ),
        "{x} is larger than {y}",
        "{x} is greater than {y}",
        nouns=NUMBERS,
    ),
    "plus-one": _question(
        (
            "what is {x} plus 1?",
            "what is {x} plus one?",
            "how much is {x} plus 1?",
            "add 1 to {x}.",
            "what is one more than {x}?",
            "which number comes after {x}?",
            "what do you get when you add one to {x}?",
        ),
        "what {x} plus 1 is",
        "how much {x} plus one is",
        nouns=NUMBERS,
    ),
    "where": _question(
        (
            "where is {x} relative to {y}?",
            "where is {x} in relation to {y}?",
            "where is {x}, seen from {y}?",
            "seen from {y}, where is {x}?",
            "in which direction from {y} is {x}?",
            "on which side of {y} is {x}?",
            "is {x} left of, right of, above or below {y}?",
            "left, right, above or below: where is {x} relative to {y}?",
        ),
        "where {x} is relative to {y}",
        "whether {x} is left of, right of, above or below {y}",
    ),
    "left-of": _SIDE,
    "right-of": _SIDE,
    "above": _SIDE,
    "below": _SIDE,
    "same-color": _yes_no(
        (
            "do {pair} have the same colour?",
            "do {x} and {y} have the same colour?",
            "are {pair} the same colour?",
            "are {x} and {y} of the same colour?",
            "is {x} the same colour as {y}?",
            "does {x} have the same colour as {y}?",
            "is {x} of the same colour as {y}?",
            "are {x} and {y} alike in colour?",
        ),
        "{pair} have the same colour",
        "{x} has the same colour as {y}",
    ),
    "same-kind": _yes_no(
        (
            "are {pair} of the same kind?",
            "are {x} and {y} of the same kind?",
            "are {pair} the same kind of thing?",
            "is {x} the same kind of thing as {y}?",
            "is {x} of the same kind as {y}?",
            "are {x} and {y} the same kind of thing?",
            "are {x} and {y} things of one kind?",
        ),
        "{pair} are of the same kind",
        "{x} is the same kind of thing as {y}",
    ),
    "bigger": _question(
        (
            "which is bigger, {x} or {y}?",
            "what is bigger, {x} or {y}?",
            "which of {pair} is bigger?",
            "which of {pair} is the bigger one?",
            "which is larger in size, {x} or {y}?",
            "which takes up more of the picture, {x} or {y}?",
            "which one is bigger: {x} or {y}?",
            "which is the bigger thing, {x} or {y}?",
            "which looks larger in the picture, {x} or {y}?",
        ),
        "which is bigger, {x} or {y}",
        "which of {pair} is bigger",
    ),
    "which-color": _question(
        (
            "which of the two is {color}, {x} or {y}?",
            "which is {color}, {x} or {y}?",
            "what is {color}, {x} or {y}?",
            "which one is {color}: {x} or {y}?",
            "which of {pair} is {color}?",
            "which of {pair} is the {color} one?",
            "which one is the {color} one, {x} or {y}?",
            "which of these two is {color}: {x} or {y}?",
        ),
        "which is {color}, {x} or {y}",
        "which of {pair} is {color}",
    ),
    "nearest": _question(
        (
            "what is nearest to {x}?",
            "what is closest to {x}?",
            "which thing is nearest to {x}?",
            "which thing is closest to {x}?",
            "what lies nearest to {x}?",
            "what is the nearest neighbour of {x}?",
            "what else is there closest to {x}?",
        ),
        "what is nearest to {x}",
        "which thing is closest to {x}",
    ),
    "place": _question(
        (
            "where in the picture is {x}?",
            "where is {x} in the picture?",
            "where is {x}?",
            "where in the image is {x}?",
            "in which part of the picture is {x}?",
            "which part of the picture is {x} in?",
            "whereabouts in the picture is {x}?",
            "what is the position of {x} in the picture?",
        ),
        "where {x} is",
        "in which part of the picture {x} is",
    ),
    "description": Wordings(
        (
            "describe {x}.",
            "describe {x} in one sentence.",
            "describe {x} in a full sentence.",
            "describe {x} and say where it is.",
            "describe the object {ref}.",
            "describe what is {at}.",
            "give a description of {x}.",
            "give a short description of {x}.",
            "write one sentence about {x}.",
            "in one sentence, describe {x}.",
            "say in one sentence what is {at}.",
            "what does {x} look like, and where is it?",
            "what can you say about {x}?",
            "how would you describe {x}?",
            "tell me about {x}.",
            "tell me all about {x}.",
            "please describe {x}.",
            "please describe what is {at}.",
            "can you describe {x}?",
            "could you describe {x}?",
            "can you describe what is {at}?",
            "could you give me a description of {x}?",
        )
    ),
    "count-things": _COUNT,
    "count-color": _COUNT,
    "count-kind": _COUNT,
    "count-category": _COUNT,
    "has-kind": _yes_no(
        (
            "is there {kind} {here}?",
            "do you see {kind} {here}?",
            "can you see {kind} {here}?",
            "does the picture show {kind}?",
            "does the picture contain {kind}?",
            "is {kind} to be seen {here}?",
            "is {kind} in the picture?",
        ),
        "there is {kind} {here}",
        "the picture shows {kind}",
    ),
    "has-color": _yes_no(
        (
            "is there any {color} thing {here}?",
            "is any of the things {here} {color}?",
            "do you see any {color} thing {here}?",
            "can you see {a_color} thing {here}?",
            "does the picture show any {color} thing?",
            "does the picture contain {a_color} thing?",
            "is there {a_color} thing {here}?",
        ),
        "there is {a_color} thing {here}",
        "the picture shows {a_color} thing",
    ),
    "color-of": _COLOR,
    "kind-of": _question(
        (
            "what is the {color} thing?",
            "what is the {color} thing {here}?",
            "which thing is {color}?",
            "which thing {here} is {color}?",
            "what is this {color} thing?",
            "name the {color} thing {here}.",
            "identify the {color} thing.",
            "what is the thing that is {color}?",
            "which thing is the {color} one?",
        ),
        "what the {color} thing is",
        "which thing {here} is {color}",
    ),
    "picture": _question(
        (
            "what is shown in this picture?",
            "what is in the picture?",
            "what is in this image?",
            "what do you see in the picture?",
            "what do you see?",
            "what can be seen in this picture?",
            "what does the picture show?",
            "what does this image show?",
            "what things are in the picture?",
            "describe the picture.",
            "describe this image.",
            "describe what you see.",
            "name everything in the picture.",
        ),
        "what is in the picture",
    ),
}

# --------------------------------------------------------------------------- later turns

# Questions about the thing that the previous turn was about.
FOLLOW_UPS: dict[str, Wordings] = {
    "what": _follow_up(
        (
            "and what is it?",
            "what is it?",
            "so what is it?",
            "and what kind of thing is it?",
            "what kind of thing is that?",
            "what is that?",
            "and what is that?",
            "what is it, then?",
            "what would you call it?",
            "name it.",
        ),
        "what it is",
        "what that is",
    ),
    "color": _follow_up(
        (
            "and what colour is it?",
            "what colour is it?",
            "which colour is it?",
            "and which colour does it have?",
            "what is its colour?",
            "and its colour?",
            "what about its colour?",
            "what colour is that?",
            "and what colour does it have?",
            "name its colour.",
        ),
        "what colour it is",
        "which colour it has",
    ),
    "texture": _follow_up(
        (
            "is it plain, striped, dotted or outlined?",
            "and is it plain, striped, dotted or outlined?",
            "what is its texture?",
            "and its texture?",
            "what texture does it have?",
            "and which texture does it have?",
            "what pattern does it have?",
            "and what is its pattern?",
            "how is it filled?",
        ),
        "what texture it has",
        "whether it is plain, striped, dotted or outlined",
    ),
    "size": _follow_up(
        (
            "is it small or large?",
            "and is it small or large?",
            "is that large or small?",
            "what size is it?",
            "and what size is it?",
            "what is its size?",
            "and its size?",
            "how big is it?",
            "and how large is it?",
        ),
        "how big it is",
        "whether it is small or large",
    ),
    "place": _follow_up(
        (
            "where is it?",
            "and where is it?",
            "where in the picture is it?",
            "and where in the picture is it?",
            "where is that in the picture?",
            "in which part of the picture is it?",
        ),
        "where it is",
    ),
    "corners": _follow_up(
        (
            "how many corners does it have?",
            "and how many corners does it have?",
            "how many corners are there on it?",
            "what is the number of its corners?",
            "count its corners.",
        ),
        "how many corners it has",
    ),
    "letter": _follow_up(
        ("which letter is it?", "and which letter is it?", "what letter is that?", "read it."),
        "which letter it is",
    ),
    "number": _follow_up(
        ("which number is it?", "and which number is it?", "what number is that?", "read it."),
        "which number it is",
    ),
    "is-what": _yes_no_follow_up(
        ("is it {kind}?", "and is it {kind}?", "is that {kind}?", "so is it {kind}?"), "it is {kind}"
    ),
    "is-color": _yes_no_follow_up(
        ("is it {color}?", "and is it {color}?", "is that {color}?", "is its colour {color}?"),
        "it is {color}",
    ),
    "is-texture": _yes_no_follow_up(
        ("is it {texture}?", "and is it {texture}?", "is that {texture}?", "is its texture {texture}?"),
        "it is {texture}",
    ),
    "is-size": _yes_no_follow_up(
        ("is it {size}?", "and is it {size}?", "is that {size}?", "is it a {size} one?"), "it is {size}"
    ),
}

# The previous question, asked about another mark.
SAME_QUESTION = (
    "and {x}?",
    "what about {x}?",
    "and what about {x}?",
    "how about {x}?",
    "and how about {x}?",
    "and now {x}?",
    "and for {x}?",
    "now the same for {x}.",
    "the same question about {x}.",
    "and the same for {x}?",
)

# --------------------------------------------------------------------------- typing noise

SHORT_ANSWER_REQUEST = "Answer the question using a single word or phrase."
# Each with whether the question continues in lower case.
LEAD_INS: tuple[tuple[str, bool], ...] = (
    ("please, ", True),
    ("Please: ", True),
    ("hey, ", True),
    ("Hey, ", True),
    ("Look at the picture. ", False),
    ("Look at this picture: ", True),
)
# Words that carry the meaning of a question, besides the names of colors, kinds and marks.
SIGNIFICANT_WORDS = (
    "contour outline circle oval frame square squiggle triangle plain striped dotted outlined small large "
    "shape number letter object digit left right above below higher lower larger smaller bigger greater "
    "lesser there three vowel consonant corners alive living colour color texture pattern difference nearest "
    "closest"
)
