//! Histories that must be accepted, and ones that must be refused.

use super::super::history::Trouble;
use super::*;

fn address(last: u8) -> IpAddr {
    IpAddr::from([10, 65, 0, last])
}

fn done(last: &[u8]) -> Outcome {
    Outcome::Done(last.iter().copied().map(address).collect())
}

fn failed(code: u64) -> Outcome {
    Outcome::Failed { code, message: "etcd: why".into() }
}

fn call(verb: Verb, container: &str, start: Time, end: Time, outcome: Outcome) -> Call {
    let (node, container) = ("n1".into(), container.into());
    let (valid, fate) = (BTreeSet::new(), "whole".into());
    Call { node, verb, container, valid, fate, start, end, outcome }
}

fn gc(valid: &[&str], start: Time, end: Time) -> Call {
    let valid = valid.iter().map(|name| (*name).to_owned()).collect();
    Call { valid, ..call(Verb::Gc, "", start, end, done(&[])) }
}

fn trouble(start: Time, end: Time) -> Trouble {
    Trouble { what: "leader paused".into(), excuses: true, start, end }
}

fn picture(moment: Moment, at: Time, held: &[(u8, &str)]) -> Picture {
    let endpoints = held.iter().map(|(_, name)| (*name).to_owned()).collect();
    let held = held.iter().map(|(last, name)| (address(*last), (*name).to_owned())).collect();
    Picture { moment, at, held, endpoints, problems: Vec::new() }
}

/// A history with these calls, at whose end nothing is left.
fn history(calls: Vec<Call>) -> History {
    let at = calls.iter().map(|call| call.end).max().unwrap_or_default();
    let pictures = [Moment::Healed, Moment::Collected, Moment::Ended];
    let pictures = pictures.into_iter().map(|moment| picture(moment, at + 1, &[])).collect();
    History { calls, pictures, has_server: true, ..History::default() }
}

fn refused(history: &History, why: &str) {
    let wrong = judge(history);
    assert!(wrong.iter().any(|wrong| wrong.contains(why)), "{wrong:#?}");
}

fn accepted(history: &History) {
    assert_eq!(judge(history), Vec::<String>::new());
}

#[test]
fn one_after_the_other_may_have_an_address() {
    accepted(&history(vec![
        call(Verb::Add, "a", 0, 10, done(&[1])),
        call(Verb::Del, "a", 20, 40, done(&[])),
        // Given again before the DEL had answered: it had been released by then.
        call(Verb::Add, "b", 15, 30, done(&[1])),
        call(Verb::Del, "b", 50, 60, done(&[])),
    ]));
}

#[test]
fn two_at_once_may_not() {
    let mut calls = vec![
        call(Verb::Add, "a", 0, 10, done(&[1, 2])),
        call(Verb::Add, "b", 5, 30, done(&[2])),
        call(Verb::Del, "a", 40, 50, done(&[])),
        call(Verb::Del, "b", 60, 70, done(&[])),
    ];
    refused(&history(calls.clone()), "10.65.0.2 had two owners");
    // Even if the first one's DEL is killed or fails: it had the address until then.
    calls[2].outcome = Outcome::Killed;
    refused(&history(calls.clone()), "10.65.0.2 had two owners");
    // An ADD that was killed owns nothing for certain.
    calls[1].outcome = Outcome::Killed;
    calls[2].outcome = done(&[]);
    accepted(&history(calls));
}

#[test]
fn one_who_never_gives_back_owns_for_ever() {
    let mut history = history(vec![
        call(Verb::Add, "a", 0, 10, done(&[1])),
        call(Verb::Add, "b", 5_000, 6_000, done(&[1])),
        call(Verb::Del, "b", 7_000, 8_000, done(&[])),
    ]);
    for picture in &mut history.pictures {
        picture.held.insert(address(1), "a".into());
        picture.endpoints.insert("a".into());
    }
    refused(&history, "two owners");
}

#[test]
fn a_gc_takes_from_those_that_it_is_not_told_to_keep() {
    let both = |valid: &[&str]| {
        history(vec![
            call(Verb::Add, "a", 0, 10, done(&[1])),
            gc(valid, 20, 30),
            call(Verb::Add, "b", 40, 50, done(&[1])),
            call(Verb::Del, "b", 60, 70, done(&[])),
            call(Verb::Del, "a", 60, 70, done(&[])),
        ])
    };
    accepted(&both(&[]));
    refused(&both(&["a"]), "two owners");
    // Another node's GC takes nothing.
    let mut elsewhere = both(&[]);
    elsewhere.calls[1].node = "n2".into();
    refused(&elsewhere, "two owners");
}

#[test]
fn an_add_that_is_repeated_answers_the_same() {
    let repeated = |between: Option<Call>| {
        let mut calls = vec![call(Verb::Add, "a", 0, 10, done(&[1]))];
        calls.extend(between);
        calls.push(call(Verb::Add, "a", 40, 50, done(&[2])));
        calls.push(call(Verb::Del, "a", 60, 70, done(&[])));
        history(calls)
    };
    refused(&repeated(None), "that was repeated changed");
    accepted(&repeated(Some(call(Verb::Del, "a", 20, 30, done(&[])))));
    accepted(&repeated(Some(call(Verb::Add, "a", 20, 30, Outcome::Killed))));
    let mut same = repeated(None);
    same.calls[1].outcome = done(&[1]);
    accepted(&same);
}

#[test]
fn check_tells_the_truth() {
    let check = |start, end, code| {
        let mut history = history(vec![
            call(Verb::Add, "a", 0, 10, done(&[1])),
            call(Verb::Check, "a", start, end, failed(code)),
            call(Verb::Del, "a", 100, 110, done(&[])),
        ]);
        history.troubles.push(trouble(0, 200));
        history
    };
    refused(&check(20, 30, 110), "CHECK failed for a container that is well");
    // Something else happens to it meanwhile.
    accepted(&check(20, 105, 110));
    accepted(&check(5, 30, 110));
    // The store was away.
    accepted(&check(20, 30, TRY_AGAIN_LATER));
}

#[test]
fn a_call_fails_only_while_a_fault_lasts_and_a_little_later() {
    let with = |at: Time, code, verb| {
        let mut history = history(vec![
            call(verb, "a", at, at + 10, failed(code)),
            call(Verb::Del, "a", at + 20, at + 30, done(&[])),
        ]);
        history.troubles.push(trouble(100, 200));
        history
    };
    accepted(&with(150, TRY_AGAIN_LATER, Verb::Add));
    accepted(&with(200 + AFTERMATH, TRY_AGAIN_LATER, Verb::Del));
    refused(&with(201 + AFTERMATH, TRY_AGAIN_LATER, Verb::Del), "nothing was wrong");
    refused(&with(0, TRY_AGAIN_LATER, Verb::Add), "nothing was wrong");
    for code in [0, 7, 101, 103, 104, 999] {
        refused(&with(150, code, Verb::Add), "doesn't mend");
    }
    accepted(&with(150, GC, Verb::Gc));
    refused(&with(150, GC, Verb::Del), "doesn't mend");
    // What GC could not remove for another reason than the store.
    let mut gc = with(150, GC, Verb::Gc);
    gc.calls[0].outcome = Outcome::Failed { code: GC, message: "no such address".into() };
    refused(&gc, "doesn't mend");
    // Who waited for long found the machine slow.
    let mut slow = with(201 + AFTERMATH, TRY_AGAIN_LATER, Verb::Add);
    slow.calls[0].end = slow.calls[0].start + LONG;
    slow.calls.pop();
    accepted(&slow);
    // A wrong clock is no excuse.
    let mut clock = with(150, TRY_AGAIN_LATER, Verb::Add);
    clock.troubles[0].excuses = false;
    refused(&clock, "nothing was wrong");
}

#[test]
fn what_was_given_back_is_free() {
    let mut leak = history(vec![
        call(Verb::Add, "a", 0, 10, done(&[1])),
        call(Verb::Del, "a", 20, 30, done(&[])),
    ]);
    leak.pictures[0] = picture(Moment::Healed, 40, &[(1, "a")]);
    refused(&leak, "10.65.0.1 is held for a, who gave it back");
    // An endpoint alone is a leak, too.
    leak.pictures[0].held.clear();
    refused(&leak, "a has an endpoint and is gone");
}

#[test]
fn a_dead_processs_commit_may_be_made_late_where_a_server_has_it_and_gc_finds_it() {
    let mut late = history(vec![
        call(Verb::Add, "a", 0, 10, Outcome::Killed),
        call(Verb::Del, "a", 20, 30, done(&[])),
    ]);
    late.pictures[0] = picture(Moment::Healed, 40, &[(1, "a")]);
    accepted(&late);
    assert_eq!(late_commits(&late), 1);
    late.has_server = false;
    refused(&late, "who gave it back");
    late.has_server = true;
    late.pictures[1] = picture(Moment::Collected, 50, &[(1, "a")]);
    refused(&late, "who gave it back");
}

#[test]
fn what_is_attached_is_held_until_the_end() {
    let held = |moment: usize, present: &[(u8, &str)]| {
        let mut history = history(vec![
            call(Verb::Add, "a", 0, 10, done(&[1])),
            call(Verb::Del, "a", 100, 110, done(&[])),
        ]);
        history.pictures[0] = picture(Moment::Healed, 40, &[(1, "a")]);
        history.pictures[1] = picture(Moment::Collected, 50, &[(1, "a")]);
        let at = history.pictures[moment].at;
        history.pictures[moment] = picture(history.pictures[moment].moment, at, present);
        history
    };
    accepted(&held(0, &[(1, "a")]));
    refused(&held(0, &[]), "10.65.0.1 of a isn't held for it");
    refused(&held(1, &[]), "a has no endpoint");
    refused(&held(1, &[(1, "b")]), "10.65.0.1 is held for b");
    refused(&held(2, &[(1, "a")]), "10.65.0.1 is held for a");
}

#[test]
fn what_the_kernel_and_the_checker_say_counts_and_a_history_has_an_end() {
    let mut left = history(vec![]);
    left.pictures[2].problems.push("link cali1 is left".into());
    refused(&left, "link cali1 is left");
    let mut cut = history(vec![]);
    cut.pictures.pop();
    refused(&cut, "ends before Ended");
}
