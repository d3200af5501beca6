"""A direct, recursive interpreter of the orchestration rules.

A branch is a generator that runs until it settles. A fork is a loop over the children's generators, followed
by the join. There are no events and no commands, so it shares no structure with an event-driven state machine.

Not covered: state, conditions, the user node, pools, nested teams, timeouts, `early`, the
branch limits, steering (an illegal action fails its branch at once), and models that are offered
`invoke_agent` (every agent here is plain code).

What the rules leave to be said, and what is done here:

 1. The already-stepped rule takes nodes away from what dispatch has picked (`next` and `each` pick the first
    onward node, `all` and `map` all of them). If none is left, the content answers; for `map` it need not be a list
    then. Barred nodes do count for the default dispatch.
 2. A gather's turn is no step for that rule. A branch that passes gathers without a step between does not enter
    the same gather twice by plain content, along any edge.
 3. A fork made by plain content is barred from stepped nodes too, although its children are new branches.
 4. A round belongs to one node on one branch. It is over when dispatch has nothing left to pick from; the next one
    starts only if it picks something, and then forgets whom the node asked and all that the branch stepped at.
 5. `rounds` does not reset "once a node has invoked anybody from this branch by an action of its own".
 6. `map` forks for one item, too. `all` with one target is a call or a hand-off.
 7. A detached invocation, and one that pops, are "an action of its own"; a pop is not "called", so plain content
    that pops does not take its target out of onward.
 8. The pop rule holds for a branch that goes on at a meeting node which is on its call stack: it pops to it
    rather than clearing the stack.
 9. The search does not see calls to `end`, but "unless all calls name it" counts them. With no other call the
    meeting node is the invoking node.
10. `map` marks every node that it picked as asked, also one that got no item, also for an empty list. Of an empty list
    the search takes them as the targets; with no meeting node the empty `JoinInput` is the answer.
11. An empty `JoinInput` that reaches the run, or one of failures only, is no contribution: "counts as its values"
    leaves out failures. A nested `JoinInput` is one value. A value delivered to the start's join that the policy fails is
    dropped and does not count as "reached the run".
12. What the start's join gives to the run is branch 0's contribution, so it comes before what 0.0 finished with.
13. A value handed straight to a meeting node (a child opened at it) is labelled with the invoking node and the invoking
    branch (`start` and 0 for a starter). A gather that delivers gives its own name.
14. A child opened at an outer fork's meeting node delivers there at once.
15. A branch that delivers to an outer join has settled as delivered; `left` is what the crossed joins count. Only a
    suspended branch whose join had nothing settles as left.
16. With nothing but left calls the branch settles as left whatever the policy, a quorum too.
17. A labelled failure stands for a call that counts as failed. A child that failed after something in its subtree
    delivered is in `ConvergenceError`'s causes, but is no labelled contribution.
    The label is the node where the child stood when it failed, and the child's id.
18. The policy "from the node" is the meeting node's if it has one, else the invoking node's, else the config's. A quorum
    replaces the ratio.
19. The step limit ends the run: no branch takes the step, every open branch is cancelled, `success` is false whatever
    was contributed.
20. `map` with anything but a list is an ActionError of the branch; the content is dropped.
21. A detached call to `end` is a `Finish` of that child. Detached children take numbers from the same count as forked ones.
22. Entries "without incoming edges" and "the first of the definition" are agents and gathers only.
23. `each` and `next` do the same for plain agents: one invocation of the first onward node, a hand-off where the
    edge is one-way, and then the branch does not come back.
24. An explicit `Invoke` may name a node the plain rules exclude (the invoking node of an enclosing fork, a stepped
    node): having an edge is enough. Where that node is no meeting node, it runs on the child's branch.
25. An edge to `end` turns the default into `agent` only where one node is onward; a dispatch that is set ignores it.
26. The invoking node may be the flagged node of rule 2 (a), if all targets lead back to it: paths stop at it, so they
    reach it.
27. A run that failed keeps its contributions as values beside `success=False`.
28. An exit has no effect on plain code: `Finish` is legal anywhere.
29. A step at a side of a conversation is a turn if the branch has come there by being opened, by a hand-off, a call or a
    gather (then it is the first turn), or by what the other side said (then it is the next one); not with the answers
    to what that node has asked (a `Return`, a pop, a join at the invoking node, a `Detached`). It is none, either, where
    the other side is on the call stack or is the invoking node of an enclosing fork.
30. What a turn says goes to the other side on the same branch; the call stack stays, and nobody counts as asked. Where
    the other side is a meeting node of an enclosing fork, it is delivered there. Neither the rule on stepped nodes nor
    "an action of its own" keeps content from being a turn.
31. Content of the last turn, and `EndConversation` in any, are plain content without the edge of the conversation. If
    nothing is onward at that node (and it has not invoked by an action of its own), the other side's dispatch decides
    as if the branch stood there; if that picks nothing, the speaker answers.
32. Outside a turn, and at the end, the edge of a conversation is never onward. `rounds` starts no conversation afresh.
33. One waiting invocation along the edge is what the speaker says, not "an action of its own", and does not clear the
    call stack; outside a turn the other side opens a conversation with it. To a node on the call stack it is a pop.
34. `EndConversation` outside a turn is an ActionError.
"""

import random
from collections import Counter
from collections.abc import Iterator, Sequence

from tests.core.reference.books import Books
from tests.core.reference.branch import Branch, Fork
from tests.core.reference.data import (
    Action,
    BranchId,
    Call,
    Content,
    Detached,
    EndConversation,
    Entry,
    Fail,
    Failure,
    Finish,
    Invoke,
    Join,
    Outcome,
    Return,
    Script,
    Turn,
    Value,
    dotted,
    joined,
    rendered,
)
from tests.core.reference.net import Net, NodeSpec, Policy, distances, meeting_node

__all__ = ["run"]


class StepLimit(Exception):
    """One more step would be more than the run may take."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure


class Interpreter:
    """One run: the life of its branches, their actions, forks and joins."""

    def __init__(
        self, net: Net, script: Script, *, order_seed: int | None, max_steps: int, policy: Policy
    ) -> None:
        self.net, self.script, self.max_steps, self.policy = net, script, max_steps, policy
        self.order = None if order_seed is None else random.Random(order_seed)
        self.books = Books()
        self.branches: list[Branch] = []
        self.forks: list[Fork] = []
        self.lines: list[Iterator[None]] = []
        self.detached: set[str] = set()

    def outcome(self, task: Value) -> Outcome:
        zero = self.new_branch((0,), "0", self.net.start(), None)
        self.lines.append(self.main(zero, task))
        error = None
        try:
            while self.lines:
                self.advance(self.lines)
        except StepLimit as limit:
            error = limit.failure
            self.cancel_all()
        return self.books.outcome(self.branches, self.detached, error)

    def main(self, zero: Branch, task: Value) -> Iterator[None]:
        calls = [(entry, task) for entry in self.net.entries()]
        self.books.emit(calls)
        if len(calls) == 1:
            self.arrive(zero, *calls[0], stack=[])
        else:
            yield from self.join(self.open_fork(zero, calls))
        yield from self.live(zero)

    def live(self, branch: Branch) -> Iterator[None]:
        while branch.end is None:
            yield
            fork = self.turn(branch)
            if fork is not None:
                yield from self.join(fork)

    def join(self, fork: Fork) -> Iterator[None]:
        waiting = [self.live(child) for child in fork.children]
        running: list[Iterator[None]] = []
        while waiting or running:
            while waiting and (fork.limit is None or len(running) < fork.limit):
                running.append(waiting.pop(0))
            if self.advance(running):
                yield
        self.close(fork)

    def advance(self, lines: list[Iterator[None]]) -> bool:
        """Let one of these go on to just before its next turn; an ended one is taken out."""
        line = lines[0] if self.order is None else self.order.choice(lines)
        for _ in line:
            return True
        lines.remove(line)
        return False

    def turn(self, branch: Branch) -> Fork | None:
        if self.net.nodes[branch.node].kind == "gather":
            self.take_input(branch)
            branch.passed.add(branch.node)
            return self.dispatch(branch, branch.input)
        if len(self.books.log) == self.max_steps:
            raise StepLimit(
                Failure("LimitError", branch.node, branch.id, f"max_steps={self.max_steps} was reached")
            )
        self.take_input(branch)
        branch.steps += 1
        branch.stepped.add(branch.node)
        branch.passed.clear()
        branch.visits[branch.node] += 1
        branch.talk = self.turn_in_conversation(branch)
        self.books.log.append((dotted(branch.id), branch.steps, branch.node, rendered(branch.input)))
        turn = Turn(
            branch=dotted(branch.id),
            name=branch.name,
            node=branch.node,
            visit=branch.visits[branch.node],
            input=branch.input,
        )
        return self.act(branch, self.script(turn))

    def turn_in_conversation(self, branch: Branch) -> int:
        other = self.net.partner(branch.node)
        waiting = [*branch.stack, *(fork.node for fork in branch.enclosing())]
        if other is None or branch.coming == "answer" or other in waiting:
            return 0
        return branch.talk + 1 if branch.coming == "said" else 1

    def take_input(self, branch: Branch) -> None:
        assert branch.holding
        branch.holding = False
        branch.turns += 1
        self.books.consume(branch.input)

    def act(self, branch: Branch, action: Action) -> Fork | None:
        match action:
            case Content(value) if branch.talk:
                return self.say(branch, value)
            case Content(value):
                return self.dispatch(branch, value)
            case EndConversation(value) if branch.talk:
                return self.end_conversation(branch, value)
            case EndConversation():
                self.fail(branch, "ActionError", "there is no conversation")
            case Invoke():
                return self.invoke(branch, action)
            case Return(value):
                self.books.emit([("", value)])
                self.answer_waiting(branch, value)
            case Finish(value):
                self.books.emit([("", value)])
                self.finish(branch, value)
            case Fail(detail):
                self.fail(branch, "Fail", detail)
        return None

    def invoke(self, branch: Branch, action: Invoke) -> Fork | None:
        known = self.net.successors(branch.node)
        wrong = [target for target, _ in action.calls if target not in known]
        if wrong or not action.calls:
            self.fail(branch, "ActionError", f"no edge from {branch.node!r} to {wrong!r}; to {known!r} only")
            return None
        target, payload = action.calls[0]
        single = action.wait and len(action.calls) == 1
        if single and target == self.net.partner(branch.node) and target not in branch.stack:
            return self.say(branch, payload)
        branch.acted.add(branch.node)
        self.books.emit(action.calls)
        if not action.wait:
            self.detach(branch, action.calls)
            return None
        if len(action.calls) == 1:
            self.move(branch, *action.calls[0])
            return None
        return self.open_fork(branch, action.calls, policy=action.policy)

    def say(self, branch: Branch, value: Value) -> Fork | None:
        if branch.talk == self.net.turns(branch.node):
            return self.end_conversation(branch, value)
        other = self.net.partner(branch.node)
        assert other is not None
        self.books.emit([(other, value)])
        for fork in branch.enclosing():
            if fork.meeting == other:
                self.deliver(branch, fork, value)
                return None
        branch.node = other
        branch.hold(value, "said")
        return None

    def end_conversation(self, branch: Branch, value: Value) -> Fork | None:
        speaker = branch.node
        left = self.onward(branch, branch.asked.get(speaker, set()))
        kind, picked = self.pick(branch)
        if not picked and not left and speaker not in branch.acted:
            other = self.net.partner(speaker)
            assert other is not None
            branch.node = other
            kind, picked = self.pick(branch)
            branch.node = other if picked else speaker
        return self.carry(branch, value, kind, picked)

    def move(self, branch: Branch, target: str, payload: Value) -> None:
        """One invocation: a call, a hand-off, a pop, or the end."""
        if self.net.nodes[target].kind == "end":
            self.finish(branch, payload)
        elif self.net.is_bidirectional(branch.node, target):
            if target not in branch.stack:
                branch.asked.setdefault(branch.node, set()).add(target)
            self.arrive(branch, target, payload, stack=[*branch.stack, branch.node])
        else:
            self.arrive(branch, target, payload, stack=[])

    def arrive(self, branch: Branch, target: str, payload: Value, *, stack: list[str]) -> None:
        for fork in branch.enclosing():
            if fork.meeting == target:
                self.deliver(branch, fork, payload)
                return
        coming = "answer" if target in branch.stack else "new"
        if target in branch.stack:
            stack = branch.stack[: branch.stack.index(target)]
        branch.node, branch.stack = target, stack
        branch.hold(payload, coming)

    def answer(self, branch: Branch, value: Value) -> None:
        """What plain content does when it goes nowhere."""
        if not branch.stack and branch.fork is None and self.net.leads_to_end(branch.node):
            self.finish(branch, value)
        else:
            self.answer_waiting(branch, value)

    def answer_waiting(self, branch: Branch, value: Value) -> None:
        if branch.stack:
            *branch.stack, branch.node = branch.stack
            branch.hold(value, "answer")
        elif branch.fork is not None:
            self.deliver(branch, branch.fork, value)
        elif dotted(branch.id) in self.detached:
            self.books.branch_results[dotted(branch.id)] = value
            branch.settle("returned")
        else:
            self.books.contribute(branch, value)
            branch.settle("returned")

    def dispatch(self, branch: Branch, content: Value) -> Fork | None:
        return self.carry(branch, content, *self.pick(branch))

    def carry(self, branch: Branch, content: Value, kind: str, picked: list[str]) -> Fork | None:
        if not picked:
            self.books.emit([("", content)])
            self.answer(branch, content)
        elif kind == "map":
            return self.deal(branch, picked, content)
        elif len(picked) == 1:
            self.books.emit([(picked[0], content)])
            self.move(branch, picked[0], content)
        else:
            calls = [(target, content) for target in picked]
            self.books.emit(calls)
            return self.open_fork(branch, calls, plain=True)
        return None

    def deal(self, branch: Branch, picked: list[str], content: Value) -> Fork | None:
        """Dispatch `map`: an item for each of the nodes in turn."""
        if not isinstance(content, list):
            self.books.emit([("", content)])
            self.books.dropped.append((content, "not a list"))
            self.fail(branch, "ActionError", f"`map` at {branch.node!r} needs a list, not {content!r}")
            return None
        branch.asked.setdefault(branch.node, set()).update(picked)
        calls = [(picked[i % len(picked)], item) for i, item in enumerate(content)]
        self.books.emit(calls)
        if calls:
            return self.open_fork(branch, calls, plain=True)
        self.go_on(branch, self.plain_meeting(branch.node, picked), Join(()))
        return None

    def pick(self, branch: Branch) -> tuple[str, list[str]]:
        """The dispatch that applies, and the nodes it picks; begins the next round where none is left."""
        node = branch.node
        if node in branch.acted:
            return "stop", []
        asked = branch.asked.get(node, set())
        kind, picked = self.pick_in_round(branch, asked, branch.stepped)
        if picked or kind == "agent" or branch.rounds[node] + 1 >= self.net.nodes[node].rounds:
            return kind, picked
        kind, picked = self.pick_in_round(branch, set(), set())
        if picked:
            branch.rounds[node] += 1
            branch.asked[node] = set()
            branch.stepped.clear()
        return kind, picked

    def pick_in_round(self, branch: Branch, asked: set[str], stepped: set[str]) -> tuple[str, list[str]]:
        node = branch.node
        onward = self.onward(branch, asked)
        kind = self.dispatch_kind(node, len(onward))
        if kind in ("stop", "agent"):
            return kind, []
        barred = branch.passed | {name for name in stepped if not self.net.is_bidirectional(node, name)}
        picked = onward[:1] if kind in ("next", "each") else onward
        return kind, [name for name in picked if name not in barred]

    def onward(self, branch: Branch, asked: set[str]) -> list[str]:
        excluded = asked | set(branch.stack[-1:]) | {fork.node for fork in branch.enclosing()}
        excluded |= {self.net.partner(branch.node) or ""}
        return [name for name in self.net.seen(self.net.successors(branch.node)) if name not in excluded]

    def dispatch_kind(self, node: str, onward: int) -> str:
        spec = self.net.nodes[node]
        if onward == 0:
            return "stop"
        if spec.kind == "gather":
            return "all"
        if spec.dispatch is not None:
            return spec.dispatch
        return "next" if onward == 1 and not self.net.leads_to_end(node) else "agent"

    def open_fork(
        self, branch: Branch, calls: Sequence[Call], *, policy: Policy | None = None, plain: bool = False
    ) -> Fork:
        spec = self.net.nodes.get(branch.node, NodeSpec(kind="start"))
        targets = [target for target, _ in calls]
        meeting: str | None = meeting_node(self.net, branch.node, targets)
        if plain:
            meeting = self.plain_meeting(branch.node, targets)
        elif meeting == self.net.start():
            meeting = None  # the run: what the join gives is branch 0's answer
        fork = Fork(
            branch=branch,
            node=branch.node,
            meeting=meeting,
            policy=policy or self.policy_at(meeting) or spec.policy or self.policy,
            limit=spec.limit if plain else None,
        )
        self.forks.append(fork)
        branch.asked.setdefault(branch.node, set()).update(targets)
        fork.children = self.start_children(branch, calls, fork)
        return fork

    def policy_at(self, node: str | None) -> Policy | None:
        return None if node is None else self.net.nodes[node].policy

    def plain_meeting(self, invoking: str, targets: list[str]) -> str | None:
        meeting = meeting_node(self.net, invoking, targets)
        back = any(invoking in distances(self.net, target, invoking) for target in targets)
        return None if meeting == invoking and not back else meeting

    def start_children(self, branch: Branch, calls: Sequence[Call], fork: Fork | None) -> list[Branch]:
        """A child stands at the invoking node until it arrives at its target."""
        children = []
        same: Counter[str] = Counter()
        for target, payload in calls:
            name = f"{branch.name}/{target}#{same[target]}"
            child = self.new_branch((*branch.id, branch.children), name, branch.node, fork)
            branch.children += 1
            same[target] += 1
            children.append(child)
            if self.net.nodes[target].kind == "end":
                self.finish(child, payload)
            else:
                self.arrive(child, target, payload, stack=[])
        return children

    def detach(self, branch: Branch, calls: Sequence[Call]) -> None:
        children = self.start_children(branch, calls, None)
        self.detached.update(dotted(child.id) for child in children)
        self.lines.extend(self.live(child) for child in children)
        branch.hold(Detached(tuple(child.id for child in children)), "answer")

    def deliver(self, branch: Branch, fork: Fork, value: Value) -> None:
        assert fork.open
        source = branch
        if branch.turns == 0 and branch.fork is not None:
            source = branch.fork.branch  # opened at the meeting node: nobody else has touched the value
        fork.contributions.append(Entry(source.node, source.id, value, branch.id))
        branch.settle("delivered")

    def close(self, fork: Fork) -> None:
        fork.open = False
        branch = fork.branch
        delivered = [child for child in fork.children if fork.delivered(child)]
        failed = [c.failure for c in fork.children if c.failure is not None and c not in delivered]
        if not fork.contributions and not failed:
            branch.settle("left")
        elif fork.policy.met(len(delivered), len(failed)) or fork.policy.on_insufficient == "proceed":
            self.go_on(branch, fork.meeting, joined(fork.contributions, failed))
        else:
            self.books.drop(fork, "the join failed")
            causes = tuple(c.failure for c in fork.children if c.failure is not None)
            self.fail(branch, "ConvergenceError", f"{len(delivered)} delivered, {len(failed)} failed", causes)

    def go_on(self, branch: Branch, meeting: str | None, value: Value) -> None:
        if meeting is None:
            self.answer(branch, value)
        elif meeting == branch.node:
            branch.hold(value, "answer")
        else:
            self.arrive(branch, meeting, value, stack=[])

    def new_branch(self, id: BranchId, name: str, node: str, fork: Fork | None) -> Branch:
        branch = Branch(id=id, name=name, node=node, fork=fork)
        self.branches.append(branch)
        return branch

    def finish(self, branch: Branch, value: Value) -> None:
        self.books.contribute(branch, value)
        branch.settle("finished")

    def fail(self, branch: Branch, kind: str, detail: str, causes: tuple[Failure, ...] = ()) -> None:
        branch.failure = Failure(kind, branch.node, branch.id, detail, causes)
        branch.settle("failed")

    def cancel_all(self) -> None:
        for fork in self.forks:
            if fork.open:
                self.books.drop(fork, "the run ended")
        for branch in self.branches:
            if branch.holding:
                branch.holding = False
                self.books.dropped.append((branch.input, "the run ended"))
            if branch.end is None:
                branch.settle("cancelled")


def run(
    net: Net,
    script: Script,
    *,
    task: str = "task",
    order_seed: int | None = None,
    max_steps: int = 100,
    policy: Policy | None = None,
) -> Outcome:
    """Run a script over a net.

    Args:
        net: The topology.
        script: What each agent does; a pure function of its turn.
        task: What the entry nodes get.
        order_seed: Shuffles which runnable branch proceeds next; None takes them in order.
        max_steps: The steps that the whole run may take.
        policy: The joins' policy where neither the fork nor the node has one.
    """
    interpreter = Interpreter(
        net, script, order_seed=order_seed, max_steps=max_steps, policy=policy or Policy()
    )
    return interpreter.outcome(task)
