"""What an agent is shown of its run besides its own conversation: its branch, or all that led to its step.

Read from the journal when it is first asked for, and from then on only what is new; a run whose agents know
their own conversation only, which is the default, never makes one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import attrs

from marsys_core import events as e
from marsys_core.journal import MemoryJournal, unpack, unpack_call
from marsys_core.messages import Message
from marsys_core.values import render

__all__ = ["History", "Said", "Transcript"]


@attrs.define(eq=False)
class Said:
    """What one step added: who spoke, the messages, and the stable name of the branch."""

    agent: str
    messages: Sequence[Message]
    line: str = ""


@attrs.define(eq=False)
class _Met:
    """A join was complete: the lines of the branches that delivered, each up to where it had come."""

    lines: tuple[tuple[str, int], ...]


@attrs.define(eq=False)
class _Line:
    """Everything that happened on the branches of one stable name, in order."""

    entries: list[Said | _Met] = attrs.field(factory=list)
    parent: tuple[str, int] | None = None


@attrs.define(eq=False)
class History:
    """Who said what on which branch, and where branches met: a fold of the journal, made as far as it is asked for.

    Args:
        journal: The journal of the run.
        agents: The name of the agent at each node.
    """

    journal: MemoryJournal
    agents: Mapping[str, str]
    _lines: dict[str, _Line] = attrs.field(factory=dict)
    _names: dict[str, str] = attrs.field(factory=dict)
    _made: dict[tuple[str, str, str], Transcript] = attrs.field(factory=dict)
    _read: int = 0

    def transcript(self, name: str, agent: str, scope: str, before: Sequence[Message] = ()) -> Transcript:
        """Return what `agent` is shown on the branches called `name`.

        Args:
            name: The stable name of a branch.
            agent: Who is to go on with it.
            scope: ``branch`` for what was said there, ``run`` for all that led to where it stands.
            before: What the agent had said before the run.
        """
        said = self._said(name, scope)
        key = (name, agent, scope)
        made = self._made.get(key)
        if made is None or not made.goes_on_with(said):
            made = self._made[key] = Transcript(agent, list(before))
        made.add(said)
        return made

    def _said(self, name: str, scope: str) -> list[Said]:
        self._catch_up()
        line = self._lines.get(name)
        if line is None:
            return []
        if scope == "branch":
            return [entry for entry in line.entries if isinstance(entry, Said)]
        seen: dict[int, Said] = {}
        for said in self._led_to(name, len(line.entries)):
            seen.setdefault(id(said), said)  # a branch that is asked again has met its parent before
        return list(seen.values())

    def _led_to(self, name: str, stop: int) -> Iterator[Said]:
        """Yield what led to the entry at index `stop` of a line, oldest first; deep forks need no deep stack."""
        waiting = [(name, 0, stop, True)]
        while waiting:
            name, start, stop, whole = waiting.pop()
            line = self._lines[name]
            if whole and line.parent is not None:
                waiting += [(name, 0, stop, False), (line.parent[0], 0, line.parent[1], True)]
                continue
            for index in range(start, stop):
                entry = line.entries[index]
                if isinstance(entry, Said):
                    yield entry
                    continue
                waiting.append((name, index + 1, stop, False))
                waiting += [(child, 0, end, False) for child, end in reversed(entry.lines)]
                break

    def _catch_up(self) -> None:
        events = self.journal.events
        for index in range(self._read, len(events)):
            event = events[index]
            if type(event) is e.BranchStarted:
                self._open(event)
            elif type(event) is e.StepFinished:
                self._lines[self._names[event.branch]].entries.append(self._spoken(event))
            elif type(event) is e.JoinCompleted:
                self._meet(event)
        self._read = len(events)

    def _spoken(self, event: e.StepFinished) -> Said:
        """What a step said: its messages; of an agent that keeps no conversation, what it answered."""
        agent, line = self.agents.get(event.node, event.node), self._names[event.branch]
        if event.messages:
            return Said(agent, tuple(_opened(self.journal, message) for message in event.messages), line)
        value = unpack(self.journal, getattr(event.action, "value", None))
        return Said(agent, () if value is None else (Message("assistant", render(value), name=agent),), line)

    def _open(self, event: e.BranchStarted) -> None:
        self._names[event.branch] = event.name
        line = self._lines.setdefault(event.name, _Line())
        above = self._names.get(event.branch.rpartition(".")[0])
        if above is not None:
            line.parent = (above, len(self._lines[above].entries))

    def _meet(self, event: e.JoinCompleted) -> None:
        """Remember the lines from each branch that delivered up to the one that goes on."""
        names: dict[str, None] = {}
        for branch, _ in event.collected:
            above, path = branch, []
            while above != event.branch:
                path.append(self._names[above])
                above = above.rpartition(".")[0]
            names.update(dict.fromkeys(reversed(path)))
        lines = tuple((name, len(self._lines[name].entries)) for name in names)
        self._lines[self._names[event.branch]].entries.append(_Met(lines))


def _opened(journal: MemoryJournal, message: Message) -> Message:
    """Return `message` with what events only refer to."""
    content = message.content if type(message.content) is str else unpack(journal, message.content)
    calls = tuple(unpack_call(journal, call) for call in message.tool_calls)
    if isinstance(content, list):
        content = tuple(content)
    return attrs.evolve(message, content=content, tool_calls=calls)


def _answers(message: Message, calls: Sequence[str]) -> bool:
    return message.role == "tool" and message.tool_call_id in calls


@attrs.define(eq=False)
class Transcript:
    """What was said, as a conversation that `agent` can go on with.

    Its own messages are as they were. What others said, and what they were asked that nobody had said before,
    are a user's messages, those of agents with the name in front. They never stand between a tool call and
    its answer, so at the end of every step a provider accepts the whole. What the agent itself said on a
    branch that its own open call led to is told as if another had said it; a call that its branch will not
    come back to is closed.
    """

    agent: str
    messages: list[Message] = attrs.field(factory=list)
    _aside: list[Message] = attrs.field(factory=list)  # waits until the agent's open calls are answered
    _open: list[str] = attrs.field(factory=list)
    _open_on: str = ""  # the branch that made the open calls
    _heard: set[str] = attrs.field(factory=set)
    _taken: list[Said] = attrs.field(factory=list)

    def goes_on_with(self, said: Sequence[Said]) -> bool:
        """Whether this is the beginning of `said`."""
        count = len(self._taken)
        return count <= len(said) and (not count or said[count - 1] is self._taken[-1])

    def add(self, said: Sequence[Said]) -> None:
        """Take what of `said` is new."""
        for entry in said[len(self._taken) :]:
            own = entry.agent == self.agent and not self._lies_below(entry)
            if own and self._open and entry.line != self._open_on:
                self._close()
            for message in entry.messages:
                if own:
                    self._add_own(message)
                elif message.role in ("assistant", "user") and message.text:
                    self._add_from(entry.agent, message)
            if own:
                self._open_on = entry.line
            self._taken.append(entry)

    def _lies_below(self, entry: Said) -> bool:
        """Whether it was said on a branch that the agent's open calls led to: their answer is still to come."""
        return bool(self._open) and entry.line.startswith(f"{self._open_on}/")

    def _close(self) -> None:
        """Answer what is open: the branch has gone on elsewhere, or is to be gone on with in another place."""
        self.messages += [Message("tool", "handed over", tool_call_id=call) for call in self._open]
        self._open.clear()
        self._tell_aside()

    def _tell_aside(self) -> None:
        self.messages += self._aside
        self._aside = []

    def with_added(self, added: Sequence[Message], closings: Sequence[Message] = ()) -> list[Message]:
        """Return the conversation with what the agent has added in a step that is not over."""
        step = Transcript(self.agent, [], list(self._aside), list(self._open), self._open_on, self._heard)
        if step._open and not (added and _answers(added[0], step._open)):
            step._close()
        for message in added:
            step._add_own(message)
        return [*self.messages, *step.messages, *closings, *step._aside]

    def _add_own(self, message: Message) -> None:
        if message.role == "user" and message.text in self._heard:
            return  # it was handed what another agent has said, and that stands here already
        self.messages.append(message)
        self._open += [call.id for call in message.tool_calls]
        if _answers(message, self._open):
            self._open.remove(message.tool_call_id)
        if not self._open and self._aside:
            self._tell_aside()

    def _add_from(self, agent: str, message: Message) -> None:
        text = message.text
        if message.role == "user" and text in self._heard:
            return
        self._heard.add(text)
        told = Message("user", f"[{agent}]: {text}" if message.role == "assistant" else text)
        (self._aside if self._open else self.messages).append(told)
