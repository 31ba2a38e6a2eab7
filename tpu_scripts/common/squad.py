"""SQuAD: passages cut into windows, a head for spans, and answers.

A question stands before a window of its passage; windows overlap. The head
gives each token two numbers: how well an answer begins there, and how well it
ends. Tokens know which characters of the passage they stand for, so an answer
is cut out of the passage itself. Where a question may have no answer, the first
token stands for that.
"""

import collections
import dataclasses
import re

import keras
import numpy as np

from kgrow.algebra.errors import GrowthError

_WORD = re.compile(r"\w+|[^\w\s]")
MOST_TOKENS = 30
CANDIDATES = 20


@dataclasses.dataclass
class Window:
    """A part of a passage behind its question.

    Args:
        key: string, the question's id.
        tokens: ints.
        context: `(first, behind the last)` token of the passage.
        places: list of `(first, behind the last)` character of each of its
            tokens.
        answer: `(first, last)` token of the answer, `(0, 0)` where the window
            does not have it.
    """

    key: str
    tokens: list
    context: tuple
    places: list
    answer: tuple = (0, 0)


class Pieces:
    """Turns text into tokens that know where they come from.

    Args:
        tokenizer: tokenizer of KerasHub; WordPiece or byte-pair.
    """

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        self.byte_pairs = "BytePair" in [
            c.__name__.removesuffix("Tokenizer")
            for c in type(tokenizer).__mro__
        ]

    def __call__(self, text):
        """`[(token, (first, behind the last character)), ...]`."""
        words = list(_WORD.finditer(text))
        if not words:
            return []
        spelled = [
            # To byte pairs, a word behind a space is another one.
            f" {word.group()}"
            if self.byte_pairs
            and (not word.start() or text[word.start() - 1].isspace())
            else word.group()
            for word in words
        ]
        found = []
        rows = self.tokenizer(spelled)
        rows = rows.to_list() if hasattr(rows, "to_list") else rows
        for word, row in zip(words, rows, strict=True):
            found += [(int(token), word.span()) for token in row]
        return found


def windows(example, pieces, length, stride, frame):
    """The windows of a question.

    Args:
        example: dict with `id`, `question`, `context` and `answers`, a list
            of `(text, first character)`; of these the first is learned.
        pieces: `Pieces`.
        length: int, tokens in a window.
        stride: int, tokens from one window to the next.
        frame: `Frame`.

    Returns:
        list of `Window`, or an empty one if the answer does not stand where
        the data say.
    """
    question = [token for token, _ in pieces(example["question"])]
    question = question[: length // 4]
    context = pieces(example["context"])
    room = length - len(question) - frame.size
    wanted = None
    if example["answers"]:
        wanted = _tokens_of(context, example["context"], *example["answers"][0])
        if wanted is None:
            return []
    found, begin = [], 0
    while True:
        part = context[begin : begin + room]
        tokens, first = frame.pack(question, [token for token, _ in part])
        window = Window(
            example["id"],
            tokens,
            (first, first + len(part)),
            [place for _, place in part],
        )
        if wanted and begin <= wanted[0] and wanted[1] < begin + len(part):
            window.answer = tuple(first + t - begin for t in wanted)
        found.append(window)
        if begin + room >= len(context):
            return found
        begin += stride


def _tokens_of(context, text, answer, start):
    """The first and the last token of an answer, or `None`."""
    if not answer or text[start : start + len(answer)] != answer:
        return None
    inside = [
        number
        for number, (_, (first, last)) in enumerate(context)
        if first < start + len(answer) and last > start
    ]
    return (inside[0], inside[-1]) if inside else None


@dataclasses.dataclass(frozen=True)
class Frame:
    """What stands around a question and a passage.

    Args:
        start: int, the first token.
        end: int, behind each of both.
        between: int, how often it stands between them.
        pad: int.
        segments: bool, whether the encoder is told which is which.
    """

    start: int
    end: int
    between: int
    pad: int
    segments: bool

    @classmethod
    def of(cls, encoder):
        """That of an `Encoder`."""
        tokens = encoder.tokenizer
        bert = encoder.kind == "Bert"
        return cls(
            tokens.cls_token_id if bert else tokens.start_token_id,
            tokens.sep_token_id if bert else tokens.end_token_id,
            1 if bert else 2,
            tokens.pad_token_id,
            bert,
        )

    @property
    def size(self):
        """How many tokens it has."""
        return 2 + self.between

    def pack(self, question, part):
        """`(tokens, where the part begins)`."""
        head = [self.start, *question, *[self.end] * self.between]
        return [*head, *part, self.end], len(head)


def arrays(found, frame, length):
    """The encoder's inputs, and the targets, of windows.

    Returns:
        `(inputs, targets)`: dicts of `int32` arrays, whose first axis is the
        windows.
    """
    tokens = np.full((len(found), length), frame.pad, "int32")
    mask = np.zeros((len(found), length), "int32")
    segments = np.zeros((len(found), length), "int32")
    for row, window in enumerate(found):
        count = len(window.tokens)
        tokens[row, :count] = window.tokens
        mask[row, :count] = 1
        segments[row, window.context[0] : count] = 1
    inputs = {"token_ids": tokens, "padding_mask": mask}
    if frame.segments:
        inputs["segment_ids"] = segments
    answers = np.array([w.answer for w in found], "int32").reshape(-1, 2)
    return inputs, {"start": answers[:, 0], "end": answers[:, 1]}


def span_model(encoder):
    """The encoder with a head for spans.

    Returns:
        `keras.Model` from the encoder's inputs to a dict of logits, `"start"`
        and `"end"`, each of shape `(batch, length)`.
    """
    inputs = encoder.backbone.input
    found = encoder.backbone(inputs)
    if isinstance(found, dict):
        found = found["sequence_output"]
    logits = keras.layers.Dense(2, name="span", dtype="float32")(found)
    return keras.Model(
        inputs, {"start": logits[..., 0], "end": logits[..., 1]}, name="squad"
    )


def answers(found, outputs, examples, may_have_none=False):
    """The best answer to each question, cut out of its passage.

    Args:
        found: list of `Window`.
        outputs: dict of arrays of shape `(windows, length)`.
        examples: list of the data set's examples.
        may_have_none: bool, whether a question may have no answer.

    Returns:
        dict from ids to strings.
    """
    contexts = {example["id"]: example["context"] for example in examples}
    best = collections.defaultdict(lambda: (-np.inf, ""))
    none = collections.defaultdict(lambda: np.inf)
    for row, window in enumerate(found):
        start, end = outputs["start"][row], outputs["end"][row]
        none[window.key] = min(none[window.key], start[0] + end[0])
        span = best_span(start, end, window.context)
        if span is None:
            continue
        value, first, last = span
        if value > best[window.key][0]:
            offset = window.context[0]
            text = contexts[window.key]
            begin = window.places[first - offset][0]
            finish = window.places[last - offset][1]
            best[window.key] = value, text[begin:finish]
    made = {}
    for key in none:
        value, text = best[key]
        made[key] = "" if may_have_none and none[key] > value else text
    return made


def best_span(start, end, context):
    """The best first and last token of an answer within a window.

    Args:
        start: array, logits.
        end: array, logits.
        context: `(first, behind the last)` token that it may have.

    Returns:
        `(sum of both logits, first, last)`, or `None` without any token.

    Example:

    >>> best_span(np.array([9.0, 1, 3, 0]), np.array([9.0, 2, 0, 1]), (1, 4))
    (4.0, 2, 3)
    """
    first, behind = context
    if behind <= first:
        return None
    begins = first + np.argsort(-start[first:behind])[:CANDIDATES]
    ends = first + np.argsort(-end[first:behind])[:CANDIDATES]
    sums = start[begins][:, None] + end[ends][None, :]
    lengths = ends[None, :] - begins[:, None]
    sums = np.where((lengths >= 0) & (lengths < MOST_TOKENS), sums, -np.inf)
    row, column = np.unravel_index(np.argmax(sums), sums.shape)
    if not np.isfinite(sums[row, column]):
        # Twenty of each without a pair among them: one token, then.
        place = first + int(np.argmax((start + end)[first:behind]))
        return float(start[place] + end[place]), place, place
    return float(sums[row, column]), int(begins[row]), int(ends[column])


def examples(rows):
    """TFDS's examples as plain ones, and the answers that are right.

    Args:
        rows: list of dicts, of `squad` or `squad/v2.0`.

    Returns:
        `(examples, truths)`.
    """
    made, truths = [], {}
    for row in rows:
        right = [
            (text.decode(), int(start))
            for text, start in zip(
                row["answers"]["text"],
                row["answers"]["answer_start"],
                strict=False,
            )
        ]
        if row.get("is_impossible", False):
            right = []
        key = row["id"].decode()
        made.append(
            {
                "id": key,
                "question": row["question"].decode(),
                "context": row["context"].decode(),
                "answers": right,
            }
        )
        truths[key] = [text for text, _ in right]
    if len(truths) < len(made):
        raise GrowthError(
            f"Of {len(made)} questions only {len(truths)} have an id of their "
            "own."
        )
    return made, truths
