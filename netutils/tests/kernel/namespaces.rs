//! Namespaces: told apart, worked in, and never mixed up.

use std::path::PathBuf;
use std::process::Command;

use netutils::{Netlink, Netns, NetnsError};

use crate::simulated::{netns, path_of};

#[test]
fn a_path_leads_to_the_namespace_it_names() {
    let made = netns();
    let opened = Netns::open(&path_of(&made)).unwrap();
    assert!(opened.is_same(&made));
    assert_eq!(opened.id(), made.id());
    assert!(!made.is_same(&netns()));
    assert!(!made.is_same(&Netns::current().unwrap()));
}

#[test]
fn work_runs_inside_and_the_caller_stays_outside() {
    let made = netns();
    let before = Netns::current().unwrap();
    let inside = made.run(|| Netns::current().unwrap()).unwrap();
    assert!(inside.is_same(&made));
    assert!(Netns::current().unwrap().is_same(&before));
}

#[tokio::test]
async fn a_panic_inside_leaves_runtime_and_thread_alone() {
    let made = netns();
    let before = Netns::current().unwrap();
    let error = made.run(|| panic!("on purpose")).unwrap_err();
    assert!(matches!(&error, NetnsError::Panicked { message, .. } if message == "on purpose"));
    assert!(Netns::current().unwrap().is_same(&before));
    let socket = Netlink::open_in(&made).unwrap();
    assert_eq!(socket.links().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_socket_stays_in_its_namespace_and_the_thread_does_not() {
    let (one, other) = (netns(), netns());
    let before = Netns::current().unwrap();
    let (first, second) = (Netlink::open_in(&one).unwrap(), Netlink::open_in(&other).unwrap());
    assert!(Netns::current().unwrap().is_same(&before));
    assert!(first.netns().is_same(&one) && second.netns().is_same(&other));

    let lo = first.link("lo").await.unwrap().unwrap();
    first.set_alias(lo.index, "marked").await.unwrap();
    assert_eq!(first.clone().link("lo").await.unwrap().unwrap().alias.as_deref(), Some("marked"));
    assert_eq!(second.link("lo").await.unwrap().unwrap().alias, None);
    let ours = Netlink::open().unwrap();
    assert!(ours.netns().is_same(&before));
    assert_ne!(ours.link("lo").await.unwrap().unwrap().alias.as_deref(), Some("marked"));
}

#[test]
fn the_namespace_of_an_ended_process_is_not_found() {
    let mut process = Command::new("true").spawn().unwrap();
    let path = PathBuf::from(format!("/proc/{}/ns/net", process.id()));
    process.wait().unwrap();
    let error = Netns::open(&path).unwrap_err();
    assert!(matches!(&error, NetnsError::NotFound { path: p } if *p == path), "{error:?}");
}
