"""Choosing the sentences of some texts that answer a question best."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence

import attrs

from marsys.search.passages import Passage
from marsys.search.sentences import split_sentences
from marsys.search.words import keywords, stem, terms

__all__ = ["Candidate", "best_sentences"]

_K1, _B = 1.2, 0.75  # the usual parameters of BM25
_POOL = 60  # how many sentences are compared with one another
_MIN_TERMS = 2  # how many of the question's terms a sentence and its passage must have between them
_MIN_LENGTH = 3  # terms in a sentence; with fewer it is a scrap
_MAX_UNSTOPPED = 60  # words in a sentence without a full stop
_MIN_SHARE = 0.45  # what a sentence must score against the best one
_DUPLICATE = 0.7  # the share of words in common from which two sentences say the same
_SOURCE_FACTOR = 0.85  # what each further sentence from one source counts, against the one before
_REPEAT_PENALTY = 0.6  # what likeness to a sentence already chosen costs
# Words that say little about what a text is about, however seldom they stand in it.
_WEAK = frozenset(
    map(
        stem,
        """american best better big case cause country day different fact first general good government great group
        history hold idea important importance kind last large life long man matter mean means nation national need
        new number old part people person place point present problem public question reason result right state
        states time united united way word work world year years""".split(),  # noqa: SIM905 - a list of words reads as one
    )
)
# A sentence that begins so leans on the one before it, which will not be there.
_LEANING = re.compile(
    r"[\"“‘']?(it|he|she|they|this|these|that|those|such|but|and|or|nor|so|its|his|her|their|hence|thus|also|"
    r"however|therefore|moreover|furthermore|accordingly|in (?:this|that|such)|for (?:this|that)|on the contrary|"
    r"the (?:former|latter|same))\b",
    re.IGNORECASE,
)


_OPEN = re.compile(r"[?:;,=({\[<\\]['\"”’)\]]*$")  # it asks, or something is to follow


@attrs.define(eq=False)
class Candidate:
    """A sentence, where it is, its terms, those of its passage, whether it can stand alone, how well it answers."""

    passage: Passage
    counts: Counter[str]
    length: int
    context: frozenset[str]
    stands: bool
    score: float = 0.0


def best_sentences(question: str, passages: Iterable[Passage], *, limit: int) -> list[Passage]:
    """Return the sentences of `passages` that answer `question` best, in the order of their sources.

    Sentences are ranked by BM25 over their words and by the words of the passage around them; likeness to
    the other good ones decides between near equals. One that says again what another says, and one
    that shares too little with the question, is left out; so the list may be empty.

    Args:
        question: What is asked.
        passages: The texts. A passage that is given twice counts once.
        limit: How many sentences at most.
    """
    candidates = _candidates(passages)
    if not candidates:
        return []
    aim = _Aim.of(question, candidates)
    for each in candidates:
        each.score = aim.score(each)
    least = _MIN_SHARE * max(each.score for each in candidates)
    pool = sorted((each for each in candidates if each.score > least), key=lambda each: -each.score)[:_POOL]
    _add_centrality(pool)
    chosen = _select(pool, limit)
    return sorted(
        (each.passage for each in chosen), key=lambda found: (found.source, found.first, found.last)
    )


def _candidates(passages: Iterable[Passage]) -> list[Candidate]:
    found: dict[tuple[str, str], Candidate] = {}
    for passage in passages:
        sentences = split_sentences(passage.text)
        counted = [Counter(terms(sentence.text)) for sentence in sentences]
        context = frozenset().union(*counted)
        for sentence, counts in zip(sentences, counted, strict=True):
            place = _narrowed(passage, sentence.text, sentence.start, sentence.end)
            length = sum(counts.values())
            stands = sentence.is_prose and length >= _MIN_LENGTH and _is_statement(sentence.text)
            candidate = Candidate(place, counts, length, context, stands)
            # Passages may overlap, and a quoted sentence comes again with the passage it is from.
            found.setdefault((place.source, place.text), candidate)
    return list(found.values())


def _narrowed(passage: Passage, text: str, start: int, end: int) -> Passage:
    """Return the sentence with its own lines, where the passage has its file's line breaks."""
    first, last = passage.first, passage.last
    if passage.text.count("\n") == last - first:
        first += passage.text.count("\n", 0, start)
        last = first + passage.text.count("\n", start, end)
    return Passage(source=passage.source, first=first, last=last, text=text, quoted=passage.quoted)


@attrs.frozen(kw_only=True)
class _Aim:
    """What a question asks for: how much each of its terms counts, and which of them say what it is about."""

    weights: dict[str, float]
    strong: frozenset[str]
    average_length: float

    @classmethod
    def of(cls, question: str, candidates: Sequence[Candidate]) -> _Aim:
        """Weigh the terms of `question`: from 1 to 2, the more the fewer sentences have one; half if it is weak.

        The bare inverse frequency would mislead: a search has chosen these texts, so what the question is
        about is common in them.
        """
        wanted = list(dict.fromkeys(stem(word) for word in keywords(question)))
        strong = frozenset(wanted) - _WEAK or frozenset(wanted)
        total = len(candidates)
        frequencies = Counter(term for each in candidates for term in each.counts)
        weights = {
            term: (1 + math.log((total + 1) / (frequencies[term] + 1)) / math.log(total + 1))
            * (1 if term in strong else 0.5)
            for term in wanted
        }
        average = sum(each.length for each in candidates) / total
        return cls(weights=weights, strong=strong, average_length=average or 1)

    def score(self, each: Candidate) -> float:
        """Return how well a sentence answers; 0 for one that is off the point or cannot stand alone."""
        around = self.strong & each.context
        least = 1 if each.passage.quoted or len(self.strong) < 3 else _MIN_TERMS
        if self.strong.isdisjoint(each.counts) or len(around) < least or not each.stands:
            return 0.0
        size = _K1 * (1 - _B + _B * each.length / self.average_length)
        score = 0.3 * sum(self.weights[term] for term in self.weights if term in each.context)
        for term, weight in self.weights.items():
            n = each.counts[term]
            score += weight * n * (_K1 + 1) / (n + size)
        if not _is_stopped(each.passage.text):
            score *= 0.75
        return score * (0.75 if _LEANING.match(each.passage.text) else 1.0)


def _is_stopped(text: str) -> bool:
    return text.rstrip("\"'”’)]").endswith((".", "!", "…"))


def _is_statement(text: str) -> bool:
    """Tell a sentence, or a line that may be one, from a heading, the beginning of a list or a question."""
    if text.isupper():
        return False
    if _is_stopped(text):
        return True
    words = text.split()
    # What has no full stop has ended with its paragraph; or it was cut, when it is very long.
    if len(words) > _MAX_UNSTOPPED or _OPEN.search(text):
        return False
    return any(word[0].isdigit() or (len(word) > 3 and word[0].islower()) for word in words)


def _add_centrality(pool: Sequence[Candidate]) -> None:
    """Raise by up to a tenth those that are most like the other good ones, as TextRank would."""
    if len(pool) < 3:
        return
    shares = [sum(_likeness(each, other) for other in pool if other is not each) for each in pool]
    top = max(shares) or 1.0
    for each, share in zip(pool, shares, strict=True):
        each.score *= 1 + 0.1 * share / top


def _select(pool: Sequence[Candidate], limit: int) -> list[Candidate]:
    """Choose one after another: good, unlike those already chosen, and from many sources."""
    chosen: list[Candidate] = []
    rest = list(pool)
    per_source: Counter[str] = Counter()

    def value(each: Candidate) -> float:
        like = max((_likeness(each, other) for other in chosen), default=0.0)
        if like >= _DUPLICATE:
            return 0.0
        return float(
            each.score * _SOURCE_FACTOR ** per_source[each.passage.source] * (1 - _REPEAT_PENALTY * like)
        )

    while rest and len(chosen) < limit:
        best = max(rest, key=value)
        if value(best) <= 0:
            break
        rest.remove(best)
        chosen.append(best)
        per_source[best.passage.source] += 1
    return chosen


def _likeness(one: Candidate, other: Candidate) -> float:
    """Return the share of the shorter sentence's terms that the other one has as well."""
    shared = len(one.counts.keys() & other.counts.keys())
    return shared / min(len(one.counts), len(other.counts)) if shared else 0.0
