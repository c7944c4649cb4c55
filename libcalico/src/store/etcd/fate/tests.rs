//! What is judged from the documents, case by case.

use super::*;
use crate::store::Key;

fn key(id: &str) -> Key {
    Key::Handle(id.to_owned())
}

fn put(id: &str, guard: Guard, value: &str) -> Change {
    Change { key: key(id), guard, action: Action::Put(value.into()) }
}

fn there(value: &str, created: Revision, modified: Revision) -> Option<Present> {
    Some(Present { value: value.into(), created, modified })
}

fn state(present: Vec<Option<Present>>) -> State {
    State { revision: 100, present }
}

/// A commit that creates `a`, updates `b` and removes `c`.
fn mixed() -> Vec<Change> {
    vec![
        put("a", Guard::Absent, "a"),
        put("b", Guard::Revision(5), "b"),
        Change::delete(key("c"), 6),
        Change { key: key("d"), guard: Guard::Revision(7), action: Action::Check },
    ]
}

#[test]
fn all_of_it_seen_at_one_revision_is_done() {
    let made = vec![there("a", 9, 9), there("b", 2, 9), None, there("d", 1, 7)];
    assert_eq!(judge(&mixed(), &state(made)), Verdict::Done(9));
}

#[test]
fn guards_that_hold_mean_that_it_was_not_made() {
    let before = vec![None, there("old", 2, 5), there("c", 6, 6), there("d", 1, 7)];
    assert_eq!(judge(&mixed(), &state(before)), Verdict::NotMade);
}

#[test]
fn a_document_that_kept_our_value_tells_when_to_look() {
    // `b` was changed by somebody since, or was never changed by us.
    let since = vec![there("a", 9, 9), there("theirs", 2, 12), None, None];
    assert_eq!(judge(&mixed(), &state(since)), Verdict::AskAt(9));
}

#[test]
fn a_document_that_was_created_and_changed_tells_when_it_was_created() {
    let since = vec![there("theirs", 9, 12), there("theirs", 2, 12), None, None];
    assert_eq!(judge(&mixed(), &state(since)), Verdict::AskAt(9));
}

#[test]
fn a_document_that_was_only_changed_has_a_history_to_ask() {
    let changes = [put("b", Guard::Revision(5), "b")];
    assert_eq!(judge(&changes, &state(vec![there("x", 2, 8)])), Verdict::AskAfter(0, 5));
    assert_eq!(judge(&changes, &state(vec![None])), Verdict::AskAfter(0, 5));
}

#[test]
fn the_same_value_under_another_guard_is_not_ours() {
    // The value was there before: an update must have raised the revision, a creation begun it.
    let update = [put("b", Guard::Revision(5), "b"), put("x", Guard::Absent, "x")];
    let unmade = state(vec![there("b", 2, 5), None]);
    assert_eq!(judge(&update, &unmade), Verdict::NotMade);
    let creation = [put("a", Guard::Absent, "a")];
    assert_eq!(made_at(&creation, &state(vec![there("a", 3, 9)])), None);
}

#[test]
fn two_revisions_are_not_one_commit() {
    let changes = [put("a", Guard::Absent, "a"), put("b", Guard::Absent, "b")];
    assert_eq!(made_at(&changes, &state(vec![there("a", 8, 8), there("b", 9, 9)])), None);
    assert_eq!(made_at(&changes, &state(vec![there("a", 8, 8), there("b", 8, 8)])), Some(8));
}

#[test]
fn a_removal_that_is_so_is_done() {
    let changes = [Change::delete(key("a"), 5), Change::delete(key("b"), 6)];
    assert_eq!(judge(&changes, &state(vec![None, None])), Verdict::Done(100));
    assert_eq!(judge(&changes, &state(vec![None, there("b", 6, 6)])), Verdict::Overtaken);
    let there_still = vec![there("a", 5, 5), there("b", 6, 6)];
    assert_eq!(judge(&changes, &state(there_still)), Verdict::NotMade);
}

#[test]
fn without_guards_it_is_sent_again_until_it_is_seen() {
    let changes = [put("a", Guard::Any, "a")];
    assert_eq!(judge(&changes, &state(vec![there("a", 2, 9)])), Verdict::Done(9));
    assert_eq!(judge(&changes, &state(vec![there("x", 2, 9)])), Verdict::NotMade);
}

#[test]
fn checks_alone_are_asked_again() {
    let check = |revision| Change {
        key: key("a"),
        guard: Guard::Revision(revision),
        action: Action::Check,
    };
    assert_eq!(judge(&[check(5)], &state(vec![there("a", 5, 5)])), Verdict::NotMade);
    assert_eq!(judge(&[check(5)], &state(vec![there("a", 5, 6)])), Verdict::Overtaken);
}
