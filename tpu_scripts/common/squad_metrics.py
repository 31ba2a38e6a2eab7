"""The metrics of SQuAD: exact match and F1, on normalised answers.

Normalised is what has no upper case, no punctuation, no articles and single
spaces. Of several answers that count as right, the best one does. Both are
percentages.
"""

import collections
import re
import string

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalized(text):
    """What of an answer counts.

    Example:

    >>> normalized("The  Cat, on a mat!")
    'cat on mat'
    """
    return " ".join(
        _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()
    )


def exact_match(answer, truth):
    """1.0 if two answers are the same, normalised.

    Example:

    >>> exact_match("the cat", "Cat."), exact_match("cat", "dog")
    (1.0, 0.0)
    """
    return float(normalized(answer) == normalized(truth))


def f1(answer, truth):
    """The overlap of two answers' words.

    Example:

    >>> f1("black cat", "the cat"), f1("", "")
    (0.6666666666666666, 1.0)
    """
    found, wanted = normalized(answer).split(), normalized(truth).split()
    if not found or not wanted:
        # No answer is right where there is none.
        return float(found == wanted)
    common = collections.Counter(found) & collections.Counter(wanted)
    same = sum(common.values())
    return 2 * same / (len(found) + len(wanted))


def score(answers, truths):
    """Exact match and F1 over a data set, in per cent.

    Args:
        answers: dict from questions' ids to answers; one that is missing is
            wrong.
        truths: dict from ids to lists of the answers that are right; an empty
            list where there is none.

    Example:

    >>> score({"1": "cat", "2": "a dog"}, {"1": ["the cat"], "2": ["big dog"]})
    {'exact_match': 50.0, 'f1': 83.33333333333333}
    """
    totals = {"exact_match": 0.0, "f1": 0.0}
    for key, right in truths.items():
        answer = answers.get(key)
        if answer is None:
            continue
        for name, metric in (("exact_match", exact_match), ("f1", f1)):
            totals[name] += max(metric(answer, t) for t in right or [""])
    return {
        name: 100 * total / len(truths) if truths else 0.0
        for name, total in totals.items()
    }
