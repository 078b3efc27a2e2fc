"""One member's part in a handoff, driven by hand: what it decides at each event, without any I/O."""

from collections.abc import Iterable
from typing import Final

import pytest

from aiopartition.backends.base import Mark, Marks, MarksCount, Progress
from aiopartition.group.handoff import Handoff, Stage
from aiopartition.group.step import Step
from aiopartition.group.work import Work
from aiopartition.placement.table import Mask

OURS: Final = "m;1;1;5555555555555555"
THEIRS: Final = "n;1;1;0000000000000000"
BOTH: Final = frozenset({OURS, THEIRS})

ALL: Final[Mask] = (True, True, True, True)
LEFT: Final[Mask] = (True, True, False, False)
RIGHT: Final[Mask] = (False, False, True, True)
NONE: Final[Mask] = (False, False, False, False)


def work(slots: int | Mask) -> Work:
    return Work("some work", slots, 0.0, lambda: None, 30.0)


def alone(generation: int = 5) -> Handoff:
    """A member by itself, all of whose slots are active."""
    handoff = Handoff(4)
    handoff.viewed(generation, OURS, frozenset({OURS}), ALL)
    handoff.marked(Mark(generation, OURS), MarksCount(0, 1))
    handoff.read_acknowledgements(generation, acknowledged_by([OURS]))
    handoff.concluded(generation)
    handoff.read_active(Progress(generation, generation))
    assert handoff.active == ALL
    assert not handoff.waiting
    return handoff


def viewing(generation: int, mine: Mask) -> Handoff:
    """A member that views its first generation, of two members."""
    handoff = Handoff(4)
    handoff.viewed(generation, OURS, BOTH, mine)
    return handoff


def alone_until(generation: int, mine: Mask) -> Handoff:
    """A member that was by itself, and views another."""
    handoff = alone()
    handoff.viewed(generation, OURS, BOTH, mine)
    return handoff


def joined_by_another(handoff: Handoff, generation: int = 6) -> Handoff:
    """Another member has come, and all are ready."""
    handoff.viewed(generation, OURS, BOTH, LEFT)
    handoff.marked(Mark(generation, OURS, ready=True), MarksCount(1, 1))
    handoff.read_active(Progress(generation - 1, generation))
    return handoff


def begun(handoff: Handoff, slots: int | Mask) -> Work:
    some = work(slots)
    handoff.began(some)
    return some


def conclude(handoff: Handoff, generation: int, progress: Progress) -> None:
    """What we concluded is written, and read again."""
    handoff.concluded(generation)
    assert handoff.next_step() is Step.READ_ACTIVE
    handoff.read_active(progress)


def hear(handoff: Handoff, progress: Progress) -> None:
    """The active node has changed."""
    handoff.moved()
    handoff.read_active(progress)


def acknowledged_by(names: Iterable[str]) -> Marks:
    return Marks(acknowledged=frozenset(names))


def ready_by(names: Iterable[str]) -> Marks:
    return Marks(ready=frozenset(names))


# ---- from nothing


def test_nothing_is_active_at_first() -> None:
    """A member that has viewed nothing has nothing to do and nothing to work on."""
    handoff = Handoff(4)
    assert handoff.active == NONE
    assert handoff.idle
    assert not handoff.waiting
    assert handoff.next_step() is Step.REST
    handoff.overdue()
    assert handoff.next_step() is Step.REST


def test_the_way_to_a_first_handoff() -> None:
    """View, acknowledge, survey, activate, look: and only the look makes anything active."""
    handoff = Handoff(4)
    handoff.viewed(5, OURS, frozenset({OURS}), ALL)
    assert handoff.waiting
    assert handoff.next_step() is Step.ACKNOWLEDGE
    handoff.marked(Mark(5, OURS), MarksCount(0, 1))
    assert handoff.next_step() is Step.READ_ACKNOWLEDGEMENTS
    handoff.read_acknowledgements(5, acknowledged_by([OURS]))
    assert handoff.next_step() is Step.ACTIVATE
    handoff.concluded(5)
    assert handoff.next_step() is Step.READ_ACTIVE
    assert handoff.active == NONE
    handoff.read_active(Progress(5, 5))
    assert handoff.active == ALL
    assert handoff.active_generation == 5
    assert handoff.next_step() is Step.REST


def test_asking_changes_nothing() -> None:
    """next_step() is a question, at each stage."""
    handoff = viewing(5, LEFT)
    assert handoff.next_step() is handoff.next_step()
    handoff.marked(Mark(5, OURS), MarksCount(0, 2))
    assert handoff.next_step() is handoff.next_step()


# ---- all have to be ready


def test_nobody_lets_go_before_all_are_ready() -> None:
    """Say that we are, go on with everything, and let go when we hear that all are."""
    handoff = alone_until(6, LEFT)
    assert handoff.next_step() is Step.ANNOUNCE
    assert handoff.next_mark == Mark(6, OURS, ready=True)
    handoff.marked(handoff.next_mark, MarksCount(1, 0))
    assert handoff.stage is Stage.READY
    assert handoff.active == ALL
    handoff.began(work(3))
    handoff.read_active(Progress(5, 5))
    assert handoff.next_step() is Step.REST
    handoff.read_active(Progress(5, 6))
    assert handoff.active == LEFT
    assert handoff.next_step() is Step.REST  # the work on slot 3 has to end


def test_a_member_that_finds_all_ready_says_so() -> None:
    """Ready, or with an acknowledgement already, which a member makes at once that has nothing to let go of."""
    handoff = alone_until(6, LEFT)
    handoff.marked(handoff.next_mark, MarksCount(1, 1))
    assert handoff.next_step() is Step.READ_ACKNOWLEDGEMENTS
    handoff.read_acknowledgements(6, Marks(frozenset({OURS}), frozenset({THEIRS})))
    assert handoff.next_step() is Step.RELEASE
    assert handoff.active == ALL
    conclude(handoff, 6, Progress(5, 6))
    assert handoff.active == LEFT
    assert handoff.next_step() is Step.ACKNOWLEDGE


def test_a_member_that_has_nothing_to_let_go_of_acknowledges_at_once() -> None:
    """Its death then holds up nobody."""
    handoff = viewing(6, LEFT)
    assert handoff.next_step() is Step.ACKNOWLEDGE
    assert handoff.next_mark == Mark(6, OURS, ready=False)
    handoff.marked(handoff.next_mark, MarksCount(1, 1))
    assert handoff.next_step() is Step.READ_ACKNOWLEDGEMENTS  # it may be the last of those that are ready
    handoff.read_acknowledgements(6, Marks(frozenset({THEIRS}), frozenset({OURS})))
    assert handoff.next_step() is Step.RELEASE


def test_a_generation_that_is_overtaken_before_all_were_ready_disturbs_nobody() -> None:
    """However many of them there are."""
    handoff = alone()
    for generation in range(6, 20):
        handoff.viewed(generation, OURS, BOTH, LEFT if generation % 2 else RIGHT)
        handoff.marked(handoff.next_mark, MarksCount(1, 0))
        handoff.read_active(Progress(5, 5))
        assert handoff.active == ALL
    handoff.viewed(20, OURS, frozenset({OURS}), ALL)
    assert handoff.next_step() is Step.ACKNOWLEDGE


@pytest.mark.parametrize("released", [0, 5, 7, 100])
def test_another_generation_that_is_released_is_not_this_one(released: int) -> None:
    """Neither an earlier nor a later one."""
    handoff = alone_until(6, LEFT)
    handoff.read_active(Progress(5, released))
    assert handoff.active == ALL
    assert handoff.next_step() is Step.ANNOUNCE


def test_too_few_members_do_not_wait_for_each_other() -> None:
    """They own nothing from the moment at which they know."""
    handoff = alone_until(6, NONE)
    handoff.let_go()
    assert handoff.active == NONE
    assert handoff.next_step() is Step.ACKNOWLEDGE


def test_a_ready_mark_that_was_deleted_is_put_back() -> None:
    """By an operator, say."""
    handoff = alone_until(6, LEFT)
    handoff.marked(handoff.next_mark, MarksCount(1, 0))
    handoff.overdue()
    assert handoff.next_step() is Step.READ_ACKNOWLEDGEMENTS
    handoff.read_acknowledgements(6, ready_by([]))
    assert handoff.next_step() is Step.ANNOUNCE


def test_a_release_that_was_deleted_is_said_again() -> None:
    """Others may not have heard of it."""
    handoff = alone()
    handoff.began(work(3))
    joined_by_another(handoff)
    hear(handoff, Progress(0, 0))
    assert handoff.next_step() is Step.RELEASE
    handoff.concluded(6)
    handoff.read_active(Progress(0, 6))
    assert handoff.next_step() is Step.REST


def test_an_operator_sees_whom_a_handoff_waits_for_however_often_the_members_change() -> None:
    """An entry that was missing is missing at the next generation until it is heard of."""
    handoff = alone_until(6, LEFT)
    handoff.read_acknowledgements(6, ready_by([OURS]))
    assert handoff.missing == {THEIRS}
    third = "o;1;1;1111111111111111"
    handoff.viewed(7, OURS, BOTH | {third}, LEFT)
    assert handoff.missing == {THEIRS}
    handoff.read_acknowledgements(7, ready_by(BOTH))
    assert handoff.missing == {third}
    handoff.viewed(8, OURS, BOTH, LEFT)
    assert handoff.missing == frozenset()


@pytest.mark.parametrize("step", [Step.RELEASE, Step.ACTIVATE])
def test_what_does_not_get_there_is_said_once(step: Step) -> None:
    """If the whole group was deleted, say: again only after more news, or when the handoff takes long."""
    handoff = alone()
    if step is Step.RELEASE:
        handoff.began(work(3))
        joined_by_another(handoff)
    hear(handoff, Progress(0, 0))
    assert handoff.next_step() is step
    assert handoff.generation is not None
    handoff.concluded(handoff.generation)
    handoff.read_active(Progress(0, 0))
    assert handoff.next_step() is Step.REST
    hear(handoff, Progress(0, 0))
    assert handoff.next_step() is step


# ---- letting go


def test_what_is_lost_stops_being_active_when_all_are_ready_and_what_is_kept_does_not() -> None:
    """What is gained waits."""
    handoff = joined_by_another(alone())
    assert handoff.active == LEFT
    assert handoff.waiting
    handoff.viewed(7, OURS, BOTH, (True, False, True, False))
    assert handoff.active == LEFT
    handoff.read_active(Progress(5, 7))
    assert handoff.active == (True, False, False, False)


def test_work_on_what_is_lost_is_revoked_once_and_waited_for() -> None:
    """Acknowledged is only what was let go of; work on what is kept is left alone."""
    handoff = alone()
    kept, lost = work(0), work(3)
    handoff.began(kept)
    handoff.began(lost)
    assert not handoff.idle
    joined_by_another(handoff)
    assert handoff.revocations() == [lost]
    assert handoff.revocations() == []
    assert handoff.in_the_way == {lost}
    assert handoff.next_step() is Step.REST
    handoff.overdue()
    assert handoff.next_step() is Step.READ_ACTIVE
    handoff.read_active(Progress(5, 6))
    handoff.ended(lost)
    assert handoff.works == {kept}
    assert handoff.next_step() is Step.ACKNOWLEDGE


def test_ending_twice_is_ending_once() -> None:
    """What has ended can end again, and so can what never began."""
    handoff = alone()
    some = begun(handoff, 0)
    handoff.ended(some)
    handoff.ended(some)
    handoff.ended(work(1))
    assert handoff.idle


def test_work_on_many_slots_is_revoked_if_one_of_them_is_lost() -> None:
    """A batch holds all that it may touch."""
    handoff = alone()
    batch, small = work(ALL), work(LEFT)
    handoff.began(batch)
    handoff.began(small)
    joined_by_another(handoff)
    assert handoff.revocations() == [batch]


def test_work_stays_in_the_way_through_later_generations() -> None:
    """Even if its slot is ours again by then: it was told to end, and will."""
    handoff = alone()
    lost = begun(handoff, 3)
    joined_by_another(handoff)
    assert handoff.revocations() == [lost]
    handoff.viewed(7, OURS, frozenset({OURS}), ALL)
    assert handoff.revocations() == []
    assert handoff.next_step() is Step.ANNOUNCE  # others need not wait for it before they let go
    handoff.marked(handoff.next_mark, MarksCount(1, 0))
    handoff.read_acknowledgements(7, ready_by([OURS]))
    assert handoff.next_step() is Step.RELEASE
    handoff.ended(lost)
    assert handoff.next_step() is Step.ACKNOWLEDGE


def test_no_work_begins_on_what_is_not_active() -> None:
    """A defect of ours if it did."""
    handoff = joined_by_another(alone())
    with pytest.raises(AssertionError):
        handoff.began(work(3))
    with pytest.raises(AssertionError):
        handoff.began(work(ALL))
    assert handoff.idle


# ---- taking up


def test_what_is_gained_waits_for_all_entries() -> None:
    """Until the others have acknowledged, and it was said that they have."""
    handoff = joined_by_another(alone())
    handoff.viewed(7, OURS, BOTH, (True, False, True, False))
    handoff.read_active(Progress(5, 7))
    handoff.marked(Mark(7, OURS), MarksCount(1, 1))
    assert handoff.next_step() is Step.REST  # the last look has armed a watch
    handoff.moved()
    assert handoff.next_step() is Step.READ_ACTIVE
    handoff.read_active(Progress(6, 7))
    assert handoff.active == (True, False, False, False)
    hear(handoff, Progress(7, 7))
    assert handoff.active == (True, False, True, False)
    assert not handoff.waiting
    assert handoff.next_step() is Step.REST


@pytest.mark.parametrize("active", [0, 4, 5, 7, 100])
def test_another_generation_is_not_this_one(active: int) -> None:
    """Neither an earlier nor a later one: equality."""
    handoff = alone_until(6, ALL)
    joined_by_another(handoff)
    handoff.viewed(6, OURS, BOTH, RIGHT)
    handoff.marked(Mark(6, OURS), MarksCount(0, 2))
    handoff.read_active(Progress(active, active))
    assert handoff.active == NONE
    assert handoff.waiting


def test_nothing_is_taken_up_without_our_own_acknowledgement() -> None:
    """The news that all have acknowledged may come before the answer to ours; then it counts with that answer."""
    handoff = viewing(6, LEFT)
    handoff.read_active(Progress(6, 6))
    assert handoff.active == NONE
    assert handoff.next_step() is Step.ACKNOWLEDGE
    handoff.marked(Mark(6, OURS), MarksCount(0, 2))
    assert handoff.active == LEFT
    assert not handoff.waiting


def test_answers_that_are_about_an_earlier_generation_count_for_nothing() -> None:
    """They were on their way when the next view came."""
    handoff = joined_by_another(alone())
    handoff.viewed(7, OURS, BOTH, RIGHT)
    handoff.read_active(Progress(5, 7))
    handoff.marked(Mark(6, OURS), MarksCount(0, 2))
    assert handoff.next_step() is Step.ACKNOWLEDGE
    handoff.read_acknowledgements(6, acknowledged_by(BOTH))
    handoff.concluded(6)
    handoff.read_active(Progress(6, 6))
    assert handoff.next_step() is Step.ACKNOWLEDGE
    assert handoff.active == NONE


def test_a_server_that_lags_does_not_take_back_what_was_seen() -> None:
    """The active generation only grows."""
    handoff = alone()
    hear(handoff, Progress(3, 3))
    assert handoff.active_generation == 5
    assert handoff.active == ALL
    assert not handoff.waiting


def test_a_later_activation_changes_nothing_at_whom_it_does_not_concern() -> None:
    """A member that has completed its generation, and hears of a later one before it views that, goes on."""
    handoff = alone()
    hear(handoff, Progress(8, 8))
    assert handoff.active == ALL  # until it views 8, nobody can have acknowledged that for it


def test_the_same_view_again_is_no_news() -> None:
    """A read that finds nothing new does not begin the handoff anew."""
    handoff = viewing(6, LEFT)
    handoff.marked(Mark(6, OURS), MarksCount(0, 1))
    handoff.viewed(6, OURS, BOTH, LEFT)
    assert handoff.next_step() is Step.READ_ACTIVE


def test_an_active_generation_that_was_deleted_is_said_again() -> None:
    """By those who are through with it: others may not be, and acknowledgements may be gone too."""
    handoff = alone()
    handoff.moved()
    assert handoff.next_step() is Step.READ_ACTIVE
    handoff.read_active(Progress(0, 0))
    assert handoff.active == ALL
    assert not handoff.waiting
    assert handoff.next_step() is Step.ACTIVATE
    conclude(handoff, 5, Progress(5, 5))
    assert handoff.next_step() is Step.REST


def test_a_group_that_has_gone_back_is_handed_over_there() -> None:
    """An ensemble that was put together from what was left of it may have forgotten the last generations."""
    handoff = joined_by_another(alone())
    handoff.marked(Mark(6, OURS), MarksCount(0, 2))
    handoff.read_active(Progress(6, 6))
    assert handoff.active == LEFT
    handoff.viewed(5, OURS, frozenset({OURS}), ALL)
    assert handoff.waiting
    assert handoff.active == LEFT
    assert handoff.next_step() is Step.ACKNOWLEDGE
    handoff.marked(Mark(5, OURS), MarksCount(0, 1))
    handoff.read_acknowledgements(5, acknowledged_by([OURS]))
    assert handoff.next_step() is Step.ACTIVATE
    conclude(handoff, 5, Progress(5, 5))
    assert handoff.active == ALL
    assert not handoff.waiting


# ---- who is missing


def test_missing_are_entries_not_ids() -> None:
    """Two incarnations of one id are two: the superseded one may still be at work."""
    older, newer = "m;1;1;0000000000000000", "m;1;2;5555555555555555"
    handoff = Handoff(4)
    handoff.viewed(6, newer, frozenset({older, newer}), ALL)
    handoff.marked(Mark(6, OURS), MarksCount(0, 2))
    handoff.read_acknowledgements(6, acknowledged_by([newer, "somebody else's node"]))
    assert handoff.missing == {older}
    assert handoff.next_step() is not Step.ACTIVATE


def test_nodes_of_others_do_not_complete_a_handoff() -> None:
    """As many acknowledgements as entries is a reason to look whose they are, no more."""
    handoff = viewing(6, LEFT)
    handoff.marked(Mark(6, OURS), MarksCount(0, 2))
    assert handoff.next_step() is Step.READ_ACKNOWLEDGEMENTS
    handoff.read_acknowledgements(6, acknowledged_by([OURS, "foreign"]))
    assert handoff.next_step() is Step.READ_ACTIVE
    assert handoff.missing == {THEIRS}


def test_more_nodes_than_entries_do_not_hide_that_all_are_there() -> None:
    """What somebody has put there beside them is in nobody's way."""
    handoff = viewing(6, LEFT)
    handoff.marked(Mark(6, OURS), MarksCount(0, 3))
    handoff.read_acknowledgements(6, acknowledged_by([OURS, THEIRS, "foreign"]))
    assert handoff.next_step() is Step.ACTIVATE


def test_an_acknowledgement_that_was_deleted_is_put_back() -> None:
    """By an operator, say: the next survey does not show it."""
    handoff = viewing(6, LEFT)
    handoff.marked(Mark(6, OURS), MarksCount(0, 1))
    handoff.read_active(Progress(5, 5))
    handoff.overdue()
    assert handoff.next_step() is Step.READ_ACKNOWLEDGEMENTS
    handoff.read_acknowledgements(6, acknowledged_by([THEIRS]))
    assert handoff.next_step() is Step.ACKNOWLEDGE


def test_whoever_waits_for_long_looks_again() -> None:
    """Whatever news got lost: who has acknowledged, and which generation is active. Without a survey before ours."""
    handoff = viewing(6, LEFT)
    handoff.overdue()
    assert handoff.next_step() is Step.ACKNOWLEDGE
    handoff.marked(Mark(6, OURS), MarksCount(0, 1))
    handoff.read_active(Progress(5, 5))
    assert handoff.next_step() is Step.REST
    handoff.overdue()
    handoff.read_acknowledgements(6, acknowledged_by(BOTH))
    assert handoff.next_step() is Step.ACTIVATE  # whoever should have done it may have died
    conclude(handoff, 6, Progress(6, 6))
    assert handoff.active == LEFT


def test_whoever_does_not_wait_does_not_look() -> None:
    """A handoff that is complete costs nothing."""
    handoff = alone()
    handoff.overdue()
    assert handoff.next_step() is Step.REST


def test_an_activation_of_ours_that_was_overtaken() -> None:
    """A later generation is active already: ours is looked for, not found, and waited for no more once we view that."""
    handoff = viewing(6, LEFT)
    handoff.marked(Mark(6, OURS), MarksCount(0, 2))
    handoff.read_acknowledgements(6, acknowledged_by(BOTH))
    handoff.concluded(6)
    handoff.read_active(Progress(7, 7))
    assert handoff.active == NONE
    assert handoff.next_step() is Step.REST
    handoff.viewed(7, OURS, BOTH, LEFT)
    assert handoff.next_step() is Step.ACKNOWLEDGE


# ---- acknowledgements are deleted by those who made them


def acknowledge(handoff: Handoff, count: int) -> None:
    """Ask for it, and hear that it is there."""
    assert handoff.next_step() is Step.ACKNOWLEDGE
    assert handoff.generation is not None
    handoff.marking(handoff.next_mark)
    handoff.marked(handoff.next_mark, MarksCount(0, count))


def test_an_acknowledgement_goes_when_the_handoff_is_complete() -> None:
    """Not before, since all have to see it; and nothing else is undone by it."""
    handoff = viewing(6, LEFT)
    assert handoff.obsolete is None
    acknowledge(handoff, 1)
    handoff.read_active(Progress(5, 5))
    assert handoff.next_step() is Step.REST
    hear(handoff, Progress(6, 6))
    assert handoff.next_step() is Step.RETRACT
    assert handoff.obsolete == Mark(6, OURS)
    handoff.retracted(Mark(6, OURS))
    assert handoff.next_step() is Step.REST
    assert handoff.active == LEFT
    assert not handoff.waiting


def test_a_generation_that_was_overtaken_needs_no_acknowledgement() -> None:
    """Of several the oldest goes first; none of them before we have let go, acknowledged and taken up what is new."""
    handoff = Handoff(4)
    for generation in (5, 6, 7):
        handoff.viewed(generation, OURS, BOTH, LEFT)
        acknowledge(handoff, 2)
    assert handoff.next_step() is Step.READ_ACKNOWLEDGEMENTS
    handoff.read_acknowledgements(7, acknowledged_by(BOTH))
    assert handoff.next_step() is Step.ACTIVATE
    conclude(handoff, 7, Progress(7, 7))
    assert handoff.active == LEFT
    for generation in (5, 6, 7):
        assert handoff.next_step() is Step.RETRACT
        assert handoff.obsolete == Mark(generation, OURS)
        handoff.retracted(Mark(generation, OURS))
    assert handoff.next_step() is Step.REST


def test_work_that_is_in_the_way_does_not_keep_an_old_acknowledgement() -> None:
    """Nothing more urgent can be done meanwhile."""
    handoff = alone()
    handoff.began(work(3))
    handoff.marking(handoff.next_mark)
    joined_by_another(handoff)
    assert handoff.next_step() is Step.RETRACT
    assert handoff.obsolete == Mark(5, OURS)


def test_an_attempt_without_an_answer_counts_as_made() -> None:
    """The request may have been carried out."""
    handoff = viewing(6, LEFT)
    handoff.marking(handoff.next_mark)
    assert handoff.next_step() is Step.ACKNOWLEDGE
    handoff.viewed(7, OURS, BOTH, LEFT)
    acknowledge(handoff, 1)
    handoff.read_active(Progress(5, 5))
    assert handoff.next_step() is Step.RETRACT
    assert handoff.obsolete == Mark(6, OURS)


def test_whoever_is_no_member_any_more_deletes_all() -> None:
    """Even of the newest generation; and what went with the session is not deleted again."""
    handoff = viewing(6, LEFT)
    acknowledge(handoff, 1)
    handoff.lapsed()
    assert handoff.next_step() is Step.RETRACT
    assert handoff.obsolete == Mark(6, OURS)
    handoff.session_ended()
    assert handoff.obsolete is None
    assert handoff.next_step() is Step.REST


def test_a_survey_of_a_complete_handoff_is_no_news() -> None:
    """All delete their acknowledgements then: nobody is missing, and ours is not put back."""
    handoff = viewing(6, LEFT)
    acknowledge(handoff, 2)
    handoff.acknowledgements_refused()
    handoff.read_active(Progress(6, 6))
    assert handoff.next_step() is Step.RETRACT
    handoff.retracted(Mark(6, OURS))
    handoff.read_acknowledgements(6, acknowledged_by([]))
    assert handoff.missing == frozenset()
    assert not handoff.waiting
    assert handoff.next_step() is Step.REST


def test_a_survey_that_misses_another_looks_whether_that_is_through() -> None:
    """It may have deleted its acknowledgement because it has seen that all were there."""
    handoff = viewing(6, LEFT)
    acknowledge(handoff, 1)
    handoff.read_active(Progress(5, 5))
    handoff.overdue()
    handoff.read_acknowledgements(6, acknowledged_by([OURS]))
    assert handoff.next_step() is Step.READ_ACTIVE
    handoff.read_active(Progress(6, 6))
    assert handoff.active == LEFT


def test_an_active_generation_that_was_deleted_is_said_again_without_acknowledgements() -> None:
    """They are gone by then, and need not be made again."""
    handoff = viewing(6, LEFT)
    acknowledge(handoff, 1)
    handoff.read_active(Progress(6, 6))
    handoff.retracted(Mark(6, OURS))
    hear(handoff, Progress(0, 0))
    assert handoff.next_step() is Step.ACTIVATE
    handoff.concluded(6)
    handoff.read_active(Progress(6, 6))
    assert handoff.next_step() is Step.REST
    assert handoff.active == LEFT


def test_an_acknowledgement_that_is_made_again_is_deleted_again() -> None:
    """After the group has gone back to a generation that we had been through."""
    handoff = Handoff(4)
    for generation in (5, 6, 5):
        handoff.viewed(generation, OURS, BOTH, LEFT)
        acknowledge(handoff, 1)
        handoff.read_active(Progress(generation, generation))
        assert handoff.obsolete == Mark(generation, OURS)
        handoff.retracted(Mark(generation, OURS))
    assert handoff.next_step() is Step.REST


# ---- leaving


def test_whoever_lapses_has_nothing_and_starts_from_nothing() -> None:
    """What was acknowledged and seen before does not count any more: it may have been another cluster's."""
    handoff = alone()
    some = begun(handoff, 2)
    handoff.lapsed()
    assert handoff.active == NONE
    assert handoff.generation is None
    assert handoff.active_generation is None
    assert not handoff.waiting
    assert handoff.next_step() is Step.REST
    assert handoff.revocations() == [some]
    handoff.viewed(5, OURS, frozenset({OURS}), ALL)
    assert handoff.next_step() is Step.ANNOUNCE  # the work comes before the acknowledgement
    handoff.ended(some)
    assert handoff.next_step() is Step.ACKNOWLEDGE
    assert handoff.active == NONE


def test_answers_after_a_lapse_count_for_nothing() -> None:
    """They were given to the session before."""
    handoff = viewing(6, LEFT)
    handoff.lapsed()
    handoff.marked(Mark(6, OURS), MarksCount(0, 2))
    handoff.read_acknowledgements(6, acknowledged_by(BOTH))
    handoff.concluded(6)
    handoff.read_active(Progress(6, 6))
    assert handoff.active == NONE
    assert handoff.next_step() is Step.REST


def test_work_is_within_a_mask_with_all_its_slots() -> None:
    """The one slot of an item, or all those of a batch."""
    assert work(1).within(LEFT)
    assert not work(2).within(LEFT)
    assert work(LEFT).within(ALL)
    assert work(NONE).within(NONE)
    assert not work(ALL).within(LEFT)
